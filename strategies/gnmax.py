"""GNMax: the noisy majority."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.aggregation import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.privacy import DpEvent, GaussianEvent, Guarantee, Private, Release
from fedkd.privacy._noise import fixed_noise, noise_for_target

Noise = Annotated[float, Field(gt=0, allow_inf_nan=False)]

SENSITIVITY = math.sqrt(2)
"""A client that changes its vote takes 1 from one class's count and adds 1 to another's."""


@dataclass
class GNMax(LogitAggregator, Private):
    """argmax(vote counts + N(0, σ²)) per sample (Papernot et al. 2018, arXiv 1802.08908, section 4.1).

    σ is ``noise``, or the least with which the whole run stays below ``target_epsilon``; 1 where neither is given.

    Protects each client's whole data (one replaced by any other) from whoever sees the target, a single class. The
    server, which sees the reports and draws the noise, is trusted. Every query of every round is one Gaussian mechanism
    of sensitivity √2, data-dependent savings are not taken: they would have to be kept secret. The clients should be at
    least a hundred; the noise does not shrink when they are few.

    A client that abstains casts no vote; a sample without votes gets a random class.
    """

    noise: Noise | None = None
    target_epsilon: Noise | None = None

    needs_individual_reports: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.noise = noise_option(self.noise, self.target_epsilon, default=1.0)

    def aggregate(self, stack: ReportStack) -> Teacher:
        return self._winners(vote_counts(stack), stack)

    def summand(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
        return cast_votes(logits)

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return self._winners(reports.total.double(), reports)

    def _winners(self, counts: Tensor, reports: ReportStack | ReportSum) -> Teacher:
        winners = noised(counts, fixed_noise(self.noise, "noise"), reports).argmax(dim=-1)
        return Teacher.from_probabilities(torch.nn.functional.one_hot(winners, counts.shape[-1]).float())

    def guarantee(self, release: Release) -> Guarantee:
        return vote_guarantee(fixed_noise(self.noise, "noise"))

    def dp_event(self, release: Release) -> DpEvent:
        return (GaussianEvent(fixed_noise(self.noise, "noise") / SENSITIVITY, count=release.queries),)

    def usability(self, release: Release) -> str:
        return vote_usability(fixed_noise(self.noise, "noise"), release.clients)

    def calibrated(self, releases: Mapping[int, tuple[Release, int]], delta: float) -> "GNMax":
        if self.target_epsilon is None:
            return self

        def event(release: Release, noise: float) -> DpEvent:
            return replace(self, noise=noise, target_epsilon=None).dp_event(release)

        return replace(
            self,
            noise=noise_for_target(event, releases, epsilon=self.target_epsilon, delta=delta),
            target_epsilon=None,
        )


def vote_counts(stack: ReportStack) -> Float[Tensor, "samples classes"]:
    """How many clients put each class on top; who abstains votes for none, even where everybody does."""
    choices = cast_votes(stack.logits)
    return (choices if stack.mask is None else choices * stack.mask.unsqueeze(-1)).sum(dim=0)


def cast_votes(logits: Float[Tensor, "*clients samples classes"]) -> Float[Tensor, "*clients samples classes"]:
    """1 for the class on top, 0 for the others, in float64."""
    return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).double()


def noised(values: Tensor, noise: float, reports: ReportStack | ReportSum) -> Tensor:
    """``values`` + N(0, noise²), drawn from the reports' generator."""
    if reports.generator is None:
        raise ValueError("a teacher with noise draws from the stack's generator, and it has none; pass generator=")
    return values + noise * torch.randn(values.shape, generator=reports.generator, dtype=values.dtype)


def vote_guarantee(noise: float) -> Guarantee:
    """What the noisy majority protects."""
    return Guarantee(
        unit="client",
        neighbouring="replace_one",
        adversary="central",
        sensitivity=SENSITIVITY,
        noise=noise,
        query="the vote counts of each public sample",
        excludes="the reports themselves, which the server sees, and what is measured on them for evaluation",
    )


def vote_usability(noise: float, clients: int) -> str:
    """How clear a majority must be to survive the noise."""
    # The difference of two noised counts has standard deviation σ√2; 1.645 of them are exceeded one time in twenty.
    lead = 1.645 * math.sqrt(2) * noise
    verdict = (
        "even a unanimous vote may lose; use more clients or less noise"
        if lead > clients
        else f"that is {lead / clients:.0%} of the clients"
    )
    return f"a class beats another with 95 % certainty when it leads by {lead:.3g} of {clients} votes: {verdict}"


def noise_option(noise: float | None, target_epsilon: float | None, *, default: float) -> float | None:
    """A teacher's σ, None where it follows from the target; raises ``ValueError`` where both are given."""
    if noise is not None and target_epsilon is not None:
        raise ValueError(
            f"noise must be left out where target_epsilon is given, from which it follows; got {noise} and "
            f"{target_epsilon}"
        )
    if target_epsilon is not None:
        check_positive("target_epsilon", target_epsilon)
        return None
    found = default if noise is None else noise
    check_positive("noise", found)
    return found


def check_positive(name: str, value: float) -> None:
    """Raises ``ValueError`` for an option that must be finite and positive."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and greater than 0, got {value}")
