"""Layers and classes of a whole subject."""

import copy

import pytest
import torch
from torch import nn

from fedkd.analysis.analyses.representations import Representations
from fedkd.analysis.analysis import Finding
from fedkd.analysis.subject import Samples
from fedkd.results.report.style import drawing, png
from tests.analysis.toys import Says, Toy

CLASSES = 4


def _network(seed: int, hidden: int = 6) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, hidden), nn.Tanh(), nn.Linear(hidden, CLASSES)).eval()


def _samples(classes: int = CLASSES) -> Samples:
    return Samples(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), torch.arange(60) % classes)


def _pairs(found: Finding) -> dict[tuple[str, str], float]:
    return {(each["first"], each["second"]): each["mean_best"] for each in found.figures["layers"]}


def test_a_student_that_is_its_teacher_is_like_it_in_layers_and_classes() -> None:
    teacher = _network(0)
    networks = {"student": copy.deepcopy(teacher), "without teacher": _network(1, hidden=3), "teacher": teacher}

    found = Representations().measure(Toy(_samples(), networks, classes=CLASSES, temperature=4.0))

    pairs = _pairs(found)
    assert pairs["student", "teacher"] == pytest.approx(1)
    assert pairs["without_teacher", "teacher"] < 0.95
    assert found.figures["agreement"]["student"] == pytest.approx(1)
    assert found.figures["agreement"]["without_teacher"] < 0.9
    assert found.figures["temperature"] == 4.0
    (student, _) = found.figures["layers"]
    assert student["first_layers"] == ["0", "1", "2"]
    assert any("nearer to the teacher" in each for each in found.sentences)
    _drawn(found, panels=2 + 3)


def test_in_a_federation_the_student_is_compared_with_itself_untaught_and_with_a_client_of_its_kind() -> None:
    networks = {"student": _network(0), "without teacher": _network(1)}
    clients = {2: _network(2, hidden=3), 5: _network(0), 6: _network(3)}

    def ensemble(inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack([client(inputs) for client in clients.values()]).detach()

    found = Representations().measure(Toy(_samples(), networks, classes=CLASSES, clients=clients, ensemble=ensemble))

    pairs = _pairs(found)
    assert set(pairs) == {("student", "client_5"), ("without_teacher", "client_5"), ("student", "without_teacher")}
    assert pairs["student", "client_5"] == pytest.approx(1)
    assert set(found.figures["relations"]) == {"teacher", "student", "without_teacher"}
    _drawn(found, panels=3 + 3)


def test_a_student_alone_has_relations_and_nobody_to_be_compared_with() -> None:
    found = Representations().measure(Toy(_samples(), {"student": _network(0)}, classes=CLASSES))

    assert found.figures["layers"] == []
    assert found.figures["agreement"] == {}
    assert any("no two networks" in each for each in found.sentences)
    assert any("the student thinks most of" in each for each in found.sentences)
    _drawn(found, panels=1)


def test_classes_without_test_samples_have_no_relations() -> None:
    found = Representations().measure(Toy(_samples(classes=3), {"student": _network(0)}, classes=CLASSES))

    rows = found.figures["relations"]["student"]
    assert [row is None for row in rows] == [False, False, False, True]
    assert sum(rows[0]) == pytest.approx(1)
    _drawn(found, panels=1)


def test_two_classes_have_no_others_to_relate() -> None:
    student = Says(lambda inputs: inputs[:, :2])

    found = Representations().measure(Toy(_samples(classes=2), {"student": student, "teacher": student}, classes=2))

    assert found.figures["agreement"] == {"student": None}
    assert any("no others to relate" in each for each in found.sentences)


def test_layers_are_seen_on_a_part_of_the_samples() -> None:
    networks = {"student": _network(0), "teacher": _network(1)}

    found = Representations(samples=20, layer_samples=7, layers=2).measure(Toy(_samples(), networks, classes=CLASSES))

    assert (found.figures["samples"], found.figures["layer_samples"]) == (20, 7)
    assert len(found.figures["layers"][0]["cka"]) == 2


def _drawn(found: Finding, panels: int) -> None:
    assert found.draw is not None
    with drawing():
        figure = found.draw()
        assert png(figure)
    assert len([axes for axes in figure.axes if axes.get_title(loc="left")]) == panels
