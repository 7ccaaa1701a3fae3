"""A little is enough: attackers that stay within the honest clients' spread."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from scipy.special import ndtri
from torch import Tensor

from fedkd import ClientBehaviour
from fedkd.client.behaviour import AdversaryView
from fedkd.client.forging import honest_probabilities


@dataclass(frozen=True)
class LittleIsEnough(ClientBehaviour):
    """All attackers answer the honest mean less z honest standard deviations (Baruch et al. 2019, arXiv 1902.06156).

    p(c) ∝ max(0, μ(c) − z·σ(c)) per sample and class, μ and σ over the honest clients' probabilities (the paper has
    gradients), σ the population's. ``deviations`` null takes the paper's z: with n clients of which m attack,
    s = ⌊n/2⌋ + 1 − m honest ones have to lie farther out for the lie to pass as the majority, so
    z = Φ⁻¹((n − m − s) / (n − m)), at least 0; s is at least 1.
    """

    deviations: Annotated[float, Field(ge=0)] | None = None

    needs_others: ClassVar[bool] = True

    def collude(self, view: AdversaryView) -> Float[Tensor, "samples classes"]:
        probabilities = honest_probabilities(view)
        z = majority_deviations(len(probabilities), view.attackers) if self.deviations is None else self.deviations
        mean, deviation = probabilities.mean(dim=0), probabilities.std(dim=0, correction=0)
        lie = (mean - z * deviation).clamp_min(torch.finfo(torch.float32).tiny)
        return lie.log().log_softmax(dim=-1).float()


def majority_deviations(honest: int, attackers: int) -> float:
    """z: how many standard deviations off the mean enough honest clients still lie, were they normally distributed."""
    supporters = max(1, (honest + attackers) // 2 + 1 - attackers)
    return max(0.0, float(ndtri((honest - supporters) / honest)))
