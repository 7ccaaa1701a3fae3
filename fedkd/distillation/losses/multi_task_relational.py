"""How the outputs for one task lie to those for another."""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from fedkd.distillation.heads import split
from fedkd.distillation.loss import Answers, Batch, DistillationLoss


@dataclass(kw_only=True)
class MultiTaskRelational(DistillationLoss):
    """Distances between outputs for different tasks, compared as in relational distillation.

    Outputs for two tasks have different dimensions; what they have in common are the samples. So an output for task k
    has its place in the space of the distances to the batch, a_i^k = (ψ_D(z_i^k, z_j^k))_j with the logits z, centred,
    and ψ_D the distance divided by its mean (Park et al. 2019, arXiv:1904.05068, Eq. 5). The relation of sample i for
    task k with sample j for task l is ψ_D(a_i^k, a_j^l), and the loss Σ_{k<l} mean_ij Huber(student's − teacher's), as
    in Eq. 4. The mean weighs pairs as their samples' weights multiplied.
    """

    by_head: ClassVar[bool] = False

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        if len(batch.heads) < 2:
            raise ValueError(
                "compares the outputs for several tasks, and the networks learn one; name other labels of the data in "
                "data.heads, or take the loss relational"
            )
        weight = torch.ones_like(student.logits[:, 0]) if batch.weight is None else batch.weight
        share = weight / _or_one(weight.sum())
        own, its = (
            [_apart(part - part.mean(dim=1, keepdim=True), share) for part in split(answers.logits, batch.heads)]
            for answers in (student, teacher)
        )
        pairs = share.unsqueeze(1) * share
        apart = [
            pairs * smooth_l1_loss(_across(*tasks, share), _across(*taught, share), reduction="none")
            for tasks, taught in zip(combinations(own, 2), combinations(its, 2), strict=True)
        ]
        return torch.stack(apart).sum()


def _apart(one: Tensor, share: Tensor, other: Tensor | None = None) -> Float[Tensor, "samples samples"]:
    """Distances divided by their mean."""
    found = torch.cdist(one, one if other is None else other, compute_mode="donot_use_mm_for_euclid_dist")
    return found / _or_one((share.unsqueeze(1) * share * found).sum())


def _across(one: Tensor, other: Tensor, share: Tensor) -> Float[Tensor, "samples samples"]:
    """Distances between places for two tasks."""
    # A sample counts as a coordinate, too, by its weight.
    return _apart(one * share.sqrt(), share, other * share.sqrt())


def _or_one(total: Tensor) -> Tensor:
    return total.where(total > 0, torch.ones_like(total))
