"""The distance between the logits themselves."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.divergence import weighted_mean
from fedkd.distillation.loss import Answers, Batch, DistillationLoss


@dataclass(kw_only=True)
class Mse(DistillationLoss):
    """Half the mean squared difference of the logits over the classes (Ba & Caruana 2014, arXiv:1312.6184, Eq. 1).

    Logits are centred first: an ensemble's log-probabilities are logits but for a shift, which changes no prediction.
    It is the limit of T²·KL as T grows (Hinton et al. 2015, arXiv:1503.02531, Eq. 4; Kim et al. 2021,
    arXiv:2105.08919, theorem 1), and has no temperature of its own.
    """

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        difference = student.logits - teacher.logits
        centred = difference - difference.mean(dim=-1, keepdim=True)
        return weighted_mean(centred.square().mean(dim=-1) / 2.0, batch.weight)
