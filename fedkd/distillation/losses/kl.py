"""The divergence of the student from its teacher."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.divergence import distillation_loss
from fedkd.distillation.loss import Answers, Batch, DistillationLoss


@dataclass(kw_only=True)
class Kl(DistillationLoss):
    """T²·KL(teacher_T ‖ student_T) (Hinton et al. 2015, arXiv:1503.02531, section 2)."""

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        return distillation_loss(student.logits, teacher.logits, batch.temperature, batch.weight)
