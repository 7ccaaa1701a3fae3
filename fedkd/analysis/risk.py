"""The student's error, bounded by its teacher's."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class RiskBound:
    """error ≤ bound = teacher_error + disagreement_train + gap.

    All are shares in [0, 1] but the gap, which may be negative, and the bound, which says nothing above 1.

    ``disagreement_train`` and ``_test`` are the shares of samples on which student and teacher name different classes,
    of those that the student learned from and of test samples; ``gap`` is the second less the first. The errors, and
    what says where the bound is loose, are on test: ``right_alone`` is the share of samples on which the student is
    right and the teacher wrong, each of which the bound counts as two mistakes where there is none; ``both_wrong`` that
    on which the two make different mistakes, counted twice.
    """

    error: float
    teacher_error: float
    disagreement_train: float
    disagreement_test: float
    right_alone: float
    both_wrong: float

    @property
    def gap(self) -> float:
        return self.disagreement_test - self.disagreement_train

    @property
    def bound(self) -> float:
        return self.teacher_error + self.disagreement_train + self.gap

    @property
    def slack(self) -> float:
        """By how much the bound exceeds the error: 2·right_alone + both_wrong, never negative."""
        return 2 * self.right_alone + self.both_wrong


def bound(
    student: Int[Tensor, " test"],
    teacher: Int[Tensor, " test"],
    labels: Int[Tensor, " test"],
    student_train: Int[Tensor, " train"],
    teacher_train: Int[Tensor, " train"],
) -> RiskBound:
    """The bound of a student's error from the classes that it and its teacher name.

    A student errs only where its teacher errs or the two disagree, so that R(h) ≤ ε_T + P(h ≠ teacher): the triangle
    inequality of the 0-1 loss. The disagreement is that on the samples that the student learned from, and its
    generalisation gap. Raises ``ValueError`` without samples.
    """
    if len(labels) == 0 or len(student_train) == 0:
        raise ValueError(f"risk needs samples, got {len(labels)} of test and {len(student_train)} of training")
    hit, right, apart = student == labels, teacher == labels, student != teacher
    return RiskBound(
        error=_share(~hit),
        teacher_error=_share(~right),
        disagreement_train=_share(student_train != teacher_train),
        disagreement_test=_share(apart),
        right_alone=_share(hit & ~right),
        both_wrong=_share(~hit & ~right & apart),
    )


def _share(what: Tensor) -> float:
    return float(what.to(torch.float64).mean())
