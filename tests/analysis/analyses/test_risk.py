"""The bound on the error, of networks that answer by hand."""

import json

import pytest
import torch

from fedkd.analysis.analyses.risk import Risk
from fedkd.analysis.subject import ALONE, STUDENT, NotKnown, Samples
from tests.analysis.small_runs import SmallRun, linear

POINTS = torch.tensor([[2.0, 1.0], [1.0, 2.0], [-1.0, 1.0], [3.0, -1.0]])
TEST = Samples(POINTS, torch.tensor([0, 1, 0, 0]))
TRAIN = Samples(POINTS[:2], torch.tensor([0, 1]))
FIRST = linear([1.0, 0.0], [0.0, 1.0])
"""Names class 0, 1, 1, 0."""
SIGN = linear([1.0, 0.0], [0.0, 0.0])
"""Names class 0, 0, 1, 0."""


def test_student_and_network_without_a_teacher_are_bounded_by_the_same_teacher() -> None:
    found = Risk().measure(SmallRun({STUDENT: SIGN, ALONE: FIRST}, TEST, TRAIN, unlabelled=POINTS[3:], teacher=FIRST))
    student, alone = found.figures["student"], found.figures["without_teacher"]
    assert (student["error"], student["teacher_error"]) == (0.5, 0.25)
    # One of the three public samples and one of the four test samples is the one they disagree about.
    assert (student["disagreement_train"], student["disagreement_test"]) == pytest.approx((1 / 3, 1 / 4))
    assert student["gap"] == pytest.approx(-1 / 12)
    assert (student["bound"], student["slack"]) == pytest.approx((0.5, 0.0))
    assert (alone["error"], alone["bound"], alone["disagreement_test"]) == (0.25, 0.25, 0.0)
    assert (found.figures["test_samples"], found.figures["train_samples"]) == (4, 3)
    json.dumps(found.figures, allow_nan=False)
    assert "errs on 50.0% of test samples; the bound is 50.0%" in found.sentences[0]
    assert found.draw is not None
    assert [each.get_text() for each in found.draw().axes[0].get_yticklabels()] == [STUDENT, ALONE]


def test_without_a_network_that_learned_alone_there_is_one_bound() -> None:
    found = Risk().measure(SmallRun({STUDENT: SIGN}, TEST, TRAIN, teacher=FIRST))
    assert set(found.figures) == {"student", "test_samples", "train_samples"}
    assert len(found.sentences) == 2


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (SmallRun({}, TEST, TRAIN, teacher=FIRST), "no student"),
        (SmallRun({STUDENT: SIGN}, TEST, teacher=FIRST), "no public samples"),
        (SmallRun({STUDENT: SIGN}, TEST, TRAIN), "no teacher"),
    ],
    ids=["student", "training samples", "teacher"],
)
def test_what_is_missing_is_said(subject: SmallRun, reason: str) -> None:
    with pytest.raises(NotKnown, match=reason):
        Risk().measure(subject)
