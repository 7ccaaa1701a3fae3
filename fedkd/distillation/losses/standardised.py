"""The divergence of standardised logits."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.divergence import distillation_loss
from fedkd.distillation.loss import Answers, Batch, DistillationLoss
from fedkd.distillation.losses._scale_free import to_unit

LEAST = 1e-9
"""The least variance of logits of which the largest is 1 away from their mean, with up to a billion classes."""


@dataclass(kw_only=True)
class Standardised(DistillationLoss):
    """T²·KL of both networks' z-scores over the classes (Sun et al. 2024, arXiv:2403.01427, Eqs. 10 and 11).

    It takes from the teacher how classes compare and not how sure it is: neither a shift nor a positive factor on the
    logits matters, so the student need not have logits as large as the teacher's. T is the paper's base temperature.
    """

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        return distillation_loss(_scores(student.logits), _scores(teacher.logits), batch.temperature, batch.weight)


def _scores(logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
    """(z − mean)/deviation; 0 where all logits of a sample are the same."""
    centred = to_unit(logits - logits.mean(dim=-1, keepdim=True), (1,))
    return centred / centred.square().mean(dim=-1, keepdim=True).clamp_min(LEAST).sqrt()
