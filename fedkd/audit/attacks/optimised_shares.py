"""Which classes a client has, from its answers to inputs that were optimised to tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fedkd.audit.attack import AskedShares, AskingInference, Disclosure
from fedkd.audit.attacks._class_shares import compare_shares, ranked_shares
from fedkd.core.optimisers import Adam

RATE = 0.05
"""Step of Adam, in the units of the inputs."""


@dataclass(frozen=True)
class OptimisedShares(AskingInference):
    """Property inference by optimised inputs, beside which crafted_queries only draws them.

    Models of the attacker's own, trained like the client on samples in no role with known class shares, answer; Adam
    changes ``queries`` inputs, at first public samples and blends of them, so that over the models the mean softmax
    follows the shares (correlation over all models and classes, each class about its mean). On the half of the models
    that the queries were not made on, a line with one slope for all classes is fitted from mean softmax to shares; the
    client's estimate is the mean of both halves'. Figures as for crafted_queries.
    """

    queries: Annotated[int, Field(ge=2, le=10_000)] = 128
    steps: Annotated[int, Field(ge=0, le=10_000)] = 30

    def make(
        self, models: Sequence[nn.Module], shares: Float[Tensor, "models classes"], start: Float[Tensor, "queries ..."]
    ) -> Float[Tensor, "queries ..."]:
        device = next(models[0].parameters()).device
        low, high = start.aminmax()
        place = start.to(device).clone().requires_grad_(True)
        optimiser = Adam([place], RATE)
        wanted = shares.to(device)
        for _ in range(self.steps):
            told = torch.stack([model(place).softmax(dim=-1).mean(dim=0) for model in models])
            (-_correlation(told, wanted)).backward()
            optimiser.step()
            optimiser.zero_grad()
            with torch.no_grad():
                place.clamp_(low, high)
        return place.detach().cpu()

    def measure(self, disclosures: list[Disclosure]) -> Mapping[str, float]:
        estimates = [torch.stack([estimate(half) for half in each.asked]).mean(dim=0) for each in disclosures]
        truth = torch.stack([each.shares for each in disclosures]).double()
        return compare_shares(torch.stack(estimates), truth) | ranked_shares(torch.stack(estimates), truth)


def _correlation(told: Float[Tensor, "models classes"], shares: Float[Tensor, "models classes"]) -> Tensor:
    one, other = told - told.mean(dim=0), shares - shares.mean(dim=0)
    both: Tensor = (one * other).sum() / (one.norm() * other.norm()).clamp_min(torch.finfo(one.dtype).tiny)
    return both


def estimate(asked: AskedShares) -> Float[Tensor, " classes"]:
    """The client's shares by the line that fits the models' best; not below 0, and 1 in all."""
    told, client = (logits.double().softmax(dim=-1).mean(dim=-2) for logits in (asked.models, asked.answers))
    shares = asked.shares.double()
    rest, wanted = told - told.mean(dim=0), shares - shares.mean(dim=0)
    slope = (rest * wanted).sum() / (rest**2).sum().clamp_min(torch.finfo(torch.float64).tiny)
    found = (shares.mean(dim=0) + slope * (client - told.mean(dim=0))).clamp_min(0)
    return found / found.sum()
