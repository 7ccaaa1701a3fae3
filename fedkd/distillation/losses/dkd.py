"""The divergence in two parts, each with a weight of its own."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.config.values import NonNegative
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.distillation.divergence import divergences, softened, weighted_mean
from fedkd.distillation.loss import Answers, Batch, DistillationLoss


@dataclass(kw_only=True)
class Dkd(DistillationLoss):
    """T²·(``alpha``·TCKD + ``beta``·NCKD), decoupled distillation (Zhao et al. 2022, arXiv:2203.08679, Eqs. 6 and 7).

    TCKD is the divergence of the target class against all others together; NCKD that among the others alone, which KL
    weighs by 1 − p, the less the surer the teacher is of the target p. The target is the label, or, where it is
    unknown, the class that the teacher thinks likeliest. With two classes NCKD is 0.
    """

    alpha: NonNegative = 1.0
    beta: NonNegative = 8.0

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        target = torch.where(batch.labels == UNKNOWN_LABEL, teacher.logits.argmax(dim=-1), batch.labels)
        other = _others(target, student.logits.shape[1])
        pair = divergences(
            _against_the_rest(softened(student.logits, batch.temperature), target, other),
            _against_the_rest(softened(teacher.logits, batch.temperature), target, other),
            1.0,
        )
        among = divergences(student.logits.gather(1, other), teacher.logits.gather(1, other), batch.temperature)
        return weighted_mean(self.alpha * pair * batch.temperature**2 + self.beta * among, batch.weight)


def _others(target: Int[Tensor, " samples"], classes: int) -> Int[Tensor, "samples others"]:
    """All classes but the target, in a circle from the one behind it."""
    return (target.unsqueeze(1) + torch.arange(1, classes, device=target.device)) % classes


def _against_the_rest(
    log_probabilities: Float[Tensor, "samples classes"], target: Int[Tensor, " samples"], other: Tensor
) -> Float[Tensor, "samples 2"]:
    """Logarithms of the target's probability and of that of all others together."""
    rest = log_probabilities.gather(1, other).logsumexp(dim=1, keepdim=True)
    return torch.cat([log_probabilities.gather(1, target.unsqueeze(1)), rest], dim=1)
