"""What a client's samples of a class look like on average, from its answers on the public set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.audit.asking.descent import of_length_one
from fedkd.audit.attack import Disclosure, InvertingAttack, Released

STEPS = 8


@dataclass(frozen=True)
class ClassMeans(InvertingAttack):
    """Model inversion (Fredrikson et al. 2015, CCS, Algorithm 1) of a copy that was distilled from released answers.

    It begins at the mean of the public samples, each weighted by the probability that the client gave the class, and
    goes ``reach`` of their mean distance from their mean, in steps up the gradient of log p_y of the copy less that of
    the model that the client began with: towards what the client has learned. Means over clients and the classes that
    they hold: ``correlation`` of its values with the true mean of the client's class; ``correlation_public`` the same
    of the true mean of the public samples of that class, which is the best guess without any answer; ``beyond_public``
    of what is found with what is true, both less that guess, and ``beyond_public_others`` the same with what is true of
    every other client instead: only where the first is larger do answers tell of the client itself.
    """

    reach: Annotated[float, Field(ge=0, le=10)] = 0.02

    def invert(self, released: Released) -> Float[Tensor, "classes ..."]:
        weights = released.answers.softmax(dim=-1).T
        public = released.public.flatten(1)
        start = weights @ public / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        place: Tensor = start.unflatten(1, released.public.shape[1:])
        far = self.reach * float((public - public.mean(dim=0)).norm(dim=1).mean())
        for _ in range(STEPS):
            place = (place + far / STEPS * of_length_one(_uphill(released, place))).clamp(*public.aminmax())
        return place

    def measure(self, disclosures: list[Disclosure]) -> Mapping[str, float]:
        found: dict[str, list[float]] = {}
        known = [each.means for each in disclosures if each.means is not None]
        for means in known:
            for label in means.held.nonzero().flatten().tolist():
                guess, truth, public = means.found[label], means.client[label], means.public[label]
                others = [each.client[label] for each in known if each is not means and each.held[label]]
                found.setdefault("correlation", []).append(_correlation(guess, truth))
                found.setdefault("correlation_public", []).append(_correlation(public, truth))
                found.setdefault("beyond_public", []).append(_correlation(guess - public, truth - public))
                found.setdefault("beyond_public_others", []).extend(
                    _correlation(guess - public, other - public) for other in others
                )
        return {name: sum(values) / len(values) for name, values in found.items() if values}


def _uphill(released: Released, place: Float[Tensor, "classes ..."]) -> Float[Tensor, "classes ..."]:
    device = next(released.copy.parameters()).device
    at = place.to(device).detach().clone().requires_grad_(True)
    copy, before = (model(at).log_softmax(dim=-1).diagonal() for model in (released.copy, released.before))
    (slope,) = torch.autograd.grad((copy - before).sum(), at)
    return slope.cpu()


def _correlation(one: Float[Tensor, " values"], other: Float[Tensor, " values"]) -> float:
    """Pearson's; 0 where either is constant."""
    first, second = (each.double() - each.double().mean() for each in (one, other))
    return float(first @ second / (first.norm() * second.norm()).clamp_min(torch.finfo(torch.float64).tiny))
