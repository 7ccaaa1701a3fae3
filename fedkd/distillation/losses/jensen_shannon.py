"""A divergence that is the same in both directions."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.divergence import softened, weighted_mean
from fedkd.distillation.loss import Answers, Batch, DistillationLoss


@dataclass(kw_only=True)
class JensenShannon(DistillationLoss):
    """T²·JSD(teacher_T, student_T), the mean divergence of both from their mean (Lin 1991, Eq. 4.1).

    JSD is symmetric and at most ln 2, so that a sample on which the student is far off pulls no harder than others.
    """

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        own, target = softened(student.logits, batch.temperature), softened(teacher.logits, batch.temperature)
        mean = torch.logaddexp(own, target) - math.log(2.0)
        both = own.exp() * (own - mean) + target.exp() * (target - mean)
        return weighted_mean(both.sum(dim=-1) / 2.0 * batch.temperature**2, batch.weight)
