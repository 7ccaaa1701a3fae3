"""The calibration of a whole subject: who is too sure, and what may be said without validation samples."""

import math

import pytest
import torch
from torch import Tensor

from fedkd.analysis.analyses.calibration import Calibration
from fedkd.analysis.analysis import NotKnown
from fedkd.analysis.subject import Samples
from fedkd.results.report.style import drawing, png
from tests.analysis.toys import Says, Toy

SAMPLES = Samples(torch.zeros(100, 1), torch.tensor([0] * 80 + [1] * 20))
"""Four of five are of class 0, and look no different."""


def _sure(probability: float) -> Says:
    """Gives class 0 of two this probability, whatever it sees."""
    logits = torch.tensor([probability, 1 - probability]).log()
    return Says(lambda inputs: logits.expand(len(inputs), 2))


def _subject(validation: Samples | None = SAMPLES) -> Toy:
    networks = {"student": _sure(0.8), "without teacher": _sure(0.95), "teacher": _sure(0.6)}
    clients = {3: _sure(0.7), 7: _sure(0.9)}
    return Toy(SAMPLES, networks, classes=2, validation=validation, clients=clients)


def test_every_model_is_measured_before_and_after() -> None:
    found = Calibration().measure(_subject())

    models = found.figures["models"]
    assert {name: each["ece"] for name, each in models.items()} == pytest.approx(
        {"student": 0, "without_teacher": 0.15, "teacher": 0.2}, abs=1e-6
    )
    # log(0.8/0.2) is what the logits' difference has to become.
    assert models["teacher"]["temperature"] == pytest.approx(torch.tensor(1.5).log() / torch.tensor(4.0).log())
    assert all(each["ece_scaled"] == pytest.approx(0, abs=1e-6) for each in models.values())
    assert {name: each["ece"] for name, each in found.figures["clients"].items()} == pytest.approx({"3": 0.1, "7": 0.1})
    assert found.figures["clients_mean"]["confidence"] == pytest.approx(0.8)
    assert found.figures["clients_mean"]["ece"] == pytest.approx(0.1), "of the errors, not of the means"
    text = " ".join(found.sentences)
    assert "the student without a teacher 15.0% (too sure)" in text
    assert "the teacher 20.0% (not sure enough)" in text
    assert "calibrated 15.0 points better than from labels alone" in text


def test_without_validation_samples_nothing_is_fitted() -> None:
    found = Calibration().measure(_subject(validation=None))

    for each in (*found.figures["models"].values(), found.figures["clients_mean"]):
        assert each["ece"] is not None
        fitted = [value for name, value in each.items() if name.endswith("_scaled") or name == "temperature"]
        assert fitted == [None] * 5
    assert any("left out" in each and "no validation samples" in each for each in found.sentences)


def test_no_temperature_is_fitted_where_every_validation_sample_is_right() -> None:
    found = Calibration().measure(_subject(Samples(SAMPLES.inputs[:80], SAMPLES.labels[:80])))

    assert found.figures["models"]["student"]["temperature"] is None
    assert found.figures["models"]["student"]["ece_scaled"] is None
    assert any("No temperature suits the teacher, the student" in each for each in found.sentences)


def test_the_same_samples_of_many_are_taken_for_all_models() -> None:
    found = Calibration(samples=10).measure(_subject())

    assert found.figures["samples"] == 10
    assert len({each["accuracy"] for each in found.figures["models"].values()}) == 1


def test_a_run_with_a_student_alone_is_measured_and_says_what_is_missing() -> None:
    found = Calibration().measure(Toy(SAMPLES, {"student": _sure(0.8)}, classes=2))

    assert set(found.figures["models"]) == {"student"}
    assert found.figures["clients_mean"] is None
    assert any("Nothing is said of the teacher" in each for each in found.sentences)
    assert any("Nothing is said of the student without a teacher" in each for each in found.sentences)
    with pytest.raises(NotKnown, match="neither a student nor a teacher"):
        Calibration().measure(Toy(SAMPLES, {}, classes=2))


@pytest.mark.parametrize("validation", [SAMPLES, None])
def test_the_diagram_has_a_panel_for_each_model(validation: Samples | None) -> None:
    found = Calibration().measure(_subject(validation))
    assert found.draw is not None

    with drawing():
        figure = found.draw()
        assert png(figure)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Teacher", "Student", "Student without a teacher"]


def test_a_model_that_is_certain_and_wrong_gets_finite_figures() -> None:
    def certain(inputs: Tensor) -> Tensor:
        return torch.tensor([0.0, -87.0]).expand(len(inputs), 2)

    found = Calibration().measure(Toy(SAMPLES, {"student": Says(certain)}, classes=2, validation=SAMPLES))

    student = found.figures["models"]["student"]
    assert student["nll"] == pytest.approx(0.2 * 87, rel=1e-4)
    assert student["temperature"] == pytest.approx(87 / math.log(4), rel=1e-3)
