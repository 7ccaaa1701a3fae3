"""Whether networks look at the same parts of a sample, where that is known."""

import json
import sys

import pytest
import torch

from fedkd.analysis.analyses.saliency import Saliency
from fedkd.analysis.subject import ALONE, STUDENT, TEACHER, NotKnown, Samples
from tests.analysis.small_runs import SmallRun, linear

DRAW = torch.Generator().manual_seed(0)
TEST = Samples(torch.randn(40, 4, generator=DRAW), torch.randint(2, (40,), generator=DRAW))
ONE = linear([1.0, 2.0, 0.0, 0.0], [-1.0, -2.0, 0.0, 0.0])
ORTHOGONAL = linear([0.0, 0.0, 5.0, 1.0], [0.0, 0.0, -5.0, -1.0])
BLIND = linear([0.0] * 4, [0.0] * 4)


def test_equal_and_orthogonal_networks() -> None:
    found = Saliency(samples=30, integrated=10).measure(SmallRun({STUDENT: ONE, ALONE: ORTHOGONAL, TEACHER: ONE}, TEST))
    for method, samples in (("gradient", 30), ("integrated", 10)):
        student, alone = found.figures[method]["student"], found.figures[method]["without_teacher"]
        assert (student["mean"], student["samples"]) == (pytest.approx(1.0), samples)
        assert (student["lower_quartile"], student["standard_error"]) == pytest.approx((1.0, 0.0), abs=1e-6)
        assert (alone["mean"], alone["samples"]) == (pytest.approx(0.0, abs=1e-6), samples)
    assert found.figures["teacher"] == "the teacher network"
    json.dumps(found.figures, allow_nan=False)
    assert "input gradient: 1.00 of the student, " in found.sentences[1]
    assert found.draw is not None
    assert len(found.draw().axes) == 2


def test_the_clients_mean_stands_for_an_ensemble() -> None:
    def cosine(weights: dict[int, float] | None, most: int = 20) -> float:
        subject = SmallRun({STUDENT: ONE}, TEST, clients={0: ORTHOGONAL, 4: ONE}, weights=weights, teacher=ONE)
        found = Saliency(clients=most).measure(subject)
        assert "which stands for the ensemble" in found.sentences[0]
        return float(found.figures["gradient"]["student"]["mean"])

    # The rows' lengths are √5 and √26.
    assert cosine(None) == pytest.approx((5 / (5 + 26)) ** 0.5, abs=1e-6)
    assert cosine({0: 0.0, 4: 1.0}) == pytest.approx(1.0)
    assert cosine({0: 0.4, 4: 0.6}, most=1) == pytest.approx(1.0)


def test_a_network_that_looks_at_nothing_has_no_cosine() -> None:
    found = Saliency().measure(SmallRun({STUDENT: BLIND, TEACHER: ONE}, TEST))
    assert found.figures["gradient"]["student"]["samples"] == 0
    assert found.figures["gradient"]["student"]["mean"] is None
    assert found.sentences[1].startswith("No cosine of input gradient is known")
    assert found.draw is not None
    found.draw()


def test_the_class_is_the_teachers() -> None:
    def network(third: list[float], *biases: float) -> torch.nn.Module:
        rows = [[1.0, 2.0, 0.0, 0.0], [-1.0, -2.0, 0.0, 0.0], third, [-each for each in third]]
        layer = linear(*rows)
        layer.bias = torch.nn.Parameter(torch.tensor(biases))
        return layer

    # They agree about the first two classes, which the teacher names, and not about the third, which the student names.
    teacher, student = (
        network([0.0, 0.0, 1.0, 0.0], 50.0, 50.0, 0.0, 0.0),
        network([0.0, 0.0, 0.0, 1.0], 0.0, 0.0, 50.0, 0.0),
    )
    found = Saliency().measure(SmallRun({STUDENT: student, TEACHER: teacher}, TEST))
    assert found.figures["gradient"]["student"]["mean"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (SmallRun({TEACHER: ONE}, TEST), "no student"),
        (SmallRun({STUDENT: ONE}, TEST, teacher=ONE), "no network of a teacher or a client is known"),
        (SmallRun({STUDENT: ONE, TEACHER: ONE}, Samples(torch.ones(2, 4).long(), TEST.labels[:2])), "are tokens"),
    ],
    ids=["student", "teacher's network", "tokens"],
)
def test_what_is_missing_is_said(subject: SmallRun, reason: str) -> None:
    with pytest.raises(NotKnown, match=reason):
        Saliency().measure(subject)


def test_without_captum_gradients_are_compared_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    found = Saliency().measure(SmallRun({STUDENT: ONE, TEACHER: ONE}, TEST))
    assert found.figures["gradient"]["student"]["mean"] == pytest.approx(1.0)
    assert "integrated" not in found.figures
    assert "pip install 'fedkd[analysis]'" in found.sentences[-1]
    assert found.draw is not None
    assert len(found.draw().axes) == 1
