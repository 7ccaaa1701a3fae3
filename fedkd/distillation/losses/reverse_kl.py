"""The divergence of the teacher from its student."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.divergence import divergences, weighted_mean
from fedkd.distillation.loss import Answers, Batch, DistillationLoss


@dataclass(kw_only=True)
class ReverseKl(DistillationLoss):
    """T²·KL(student_T ‖ teacher_T), which is mode-seeking.

    The student is punished for mass where the teacher has little, and may leave out classes that the teacher thinks
    possible (Gu et al. 2024, arXiv:2306.08543, section 2.1).
    """

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        return weighted_mean(divergences(teacher.logits, student.logits, batch.temperature), batch.weight)
