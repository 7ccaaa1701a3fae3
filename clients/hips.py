"""Hiding in plain sight: attackers that only repeat what honest clients said."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd import ClientBehaviour
from fedkd.client.behaviour import AdversaryView
from fedkd.client.forging import class_covariance, honest_probabilities

FLOOR = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class HidingInPlainSight(ClientBehaviour):
    """HIPS: per sample, all attackers repeat the honest answer that does most harm (Roux et al. 2024).

    With p̄_H the honest mean and α the attackers' share of the round, ``objective`` chooses among the honest p_h:
    ``lma`` the one with the largest cross-entropy −Σ_c p̄_H(c)·ln((1 − α)·p̄_H(c) + α·p_h(c)) to the mean that
    results; ``cpa`` the one with the smallest Σ_c S(t, c)·p_h(c), S and t as in CPA (arXiv 2402.12265; the
    published code has α and 1 − α the other way round under ``lma``). No answer is an outlier, so filters on single
    samples have nothing to find.
    """

    objective: Literal["lma", "cpa"] = "lma"

    needs_others: ClassVar[bool] = True

    def collude(self, view: AdversaryView) -> Float[Tensor, "samples classes"]:
        probabilities = honest_probabilities(view)
        honest = len(probabilities)
        share = view.attackers / (view.attackers + honest)
        harm = loss_harm(probabilities, share) if self.objective == "lma" else prior_harm(probabilities)
        samples = torch.arange(probabilities.shape[1])
        return probabilities[harm.argmax(dim=0), samples].clamp_min(FLOOR).log().float()


def loss_harm(probabilities: Float[Tensor, "honest samples classes"], share: float) -> Float[Tensor, "honest samples"]:
    """How far the mean would be from the honest one, in nats of cross-entropy, if the attackers repeated an answer."""
    mean = probabilities.mean(dim=0)
    resulting = (1.0 - share) * mean + share * probabilities
    return -(mean * resulting.clamp_min(FLOOR).log()).sum(dim=-1)


def prior_harm(probabilities: Float[Tensor, "honest samples classes"]) -> Float[Tensor, "honest samples"]:
    """How dissimilar the classes an answer believes in are to the honest mean's top class."""
    mean = probabilities.mean(dim=0)
    similarity = class_covariance(mean)[mean.argmax(dim=-1)]
    return -(probabilities * similarity).sum(dim=-1)
