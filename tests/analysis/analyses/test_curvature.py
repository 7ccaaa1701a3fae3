"""Curvature against the temperature, of a network whose Hessian can be written down."""

import json

import pytest
import torch

from fedkd.analysis.analyses.curvature import Curvature
from fedkd.analysis.subject import STUDENT, TEACHER, NotKnown, Samples
from tests.analysis.small_runs import SmallRun, linear

DRAW = torch.Generator().manual_seed(0)
SAMPLES = Samples(torch.randn(90, 3, generator=DRAW), torch.randint(2, (90,), generator=DRAW))
UNDECIDED = linear([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
TAUGHT = linear([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])


def test_of_an_undecided_linear_network_both_are_known() -> None:
    found = Curvature(temperatures=(1.0, 2.0, 4.0)).measure(
        SmallRun({STUDENT: UNDECIDED, TEACHER: TAUGHT}, SAMPLES, SAMPLES)
    )
    figures = found.figures
    assert figures["logits"]["scaled"] == pytest.approx([0.5, 0.5, 0.5])
    assert figures["logits"]["bare"] == pytest.approx([0.5, 0.125, 0.03125])
    # (diag p − ppᵀ) ⊗ E[xxᵀ], as p is uniform for every sample: half of the samples' largest second moment.
    moment = float(torch.linalg.eigvalsh(SAMPLES.inputs.T @ SAMPLES.inputs / 90)[-1])
    assert figures["parameters"]["scaled"] == pytest.approx([moment / 2] * 3, rel=1e-2)
    assert figures["parameters"]["bare"] == pytest.approx([moment / 2, moment / 8, moment / 32], rel=1e-2)
    assert figures["cross_entropy"] == pytest.approx(moment / 2, rel=1e-2)
    assert (figures["temperatures"], figures["temperature"], figures["public_samples"]) == ([1.0, 2.0, 4.0], 2.0, 90)
    json.dumps(figures, allow_nan=False)
    assert "at the logits goes from 0.5 to 0.0312 for the bare KL, and from 0.5 to 0.5 for T²·KL" in found.sentences[0]
    assert found.draw is not None
    assert len(found.draw().axes) == 2


def test_the_network_stays_as_it_was_and_draws_repeat() -> None:
    frozen = linear([1.0, 2.0, 0.0], [0.0, 1.0, 3.0]).requires_grad_(False)
    before = frozen.weight.clone()
    first, second = (
        Curvature(samples=20, logits=30).measure(SmallRun({STUDENT: frozen, TEACHER: TAUGHT}, SAMPLES, SAMPLES)).figures
        for _ in range(2)
    )
    assert first == second
    assert first["public_samples"] == 20
    assert torch.equal(frozen.weight, before)
    assert not frozen.weight.requires_grad


def test_labels_are_needed_for_their_own_loss_alone() -> None:
    found = Curvature(samples=50).measure(
        SmallRun({STUDENT: UNDECIDED, TEACHER: TAUGHT}, SAMPLES, unlabelled=SAMPLES.inputs)
    )
    assert found.figures["cross_entropy"] is None
    assert found.figures["public_samples"] == 50
    assert not any("cross-entropy" in sentence for sentence in found.sentences)
    assert found.draw is not None
    found.draw()


def test_a_student_that_is_certain_is_flat() -> None:
    certain = linear([1e6, 0.0], [-1e6, 0.0])
    samples = Samples(torch.tensor([[1.0, 0.0], [2.0, 1.0]]), torch.tensor([0, 0]))
    found = Curvature().measure(SmallRun({STUDENT: certain, TEACHER: certain}, samples, samples))
    assert max(found.figures["parameters"]["scaled"]) == found.figures["cross_entropy"] == 0.0
    assert found.draw is not None
    found.draw()


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (SmallRun({TEACHER: TAUGHT}, SAMPLES, SAMPLES), "no student"),
        (SmallRun({STUDENT: UNDECIDED, TEACHER: TAUGHT}, SAMPLES), "no public samples"),
        (SmallRun({STUDENT: UNDECIDED}, SAMPLES, SAMPLES), "no teacher"),
    ],
    ids=["student", "public samples", "teacher"],
)
def test_what_is_missing_is_said(subject: SmallRun, reason: str) -> None:
    with pytest.raises(NotKnown, match=reason):
        Curvature().measure(subject)
