"""GNMax: the noisy majority."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.aggregation import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.privacy import DpEvent, GaussianEvent, Guarantee, Private, Release

SENSITIVITY = math.sqrt(2)
"""A client that changes its vote takes 1 from one class's count and adds 1 to another's."""


@dataclass
class GNMax(LogitAggregator, Private):
    """argmax(vote counts + N(0, σ²)) per sample (Papernot et al. 2018, arXiv 1802.08908, section 4.1); σ is ``noise``.

    Protects each client's whole data (one replaced by any other) from whoever sees the target, a single class. The
    server, which sees the reports and draws the noise, is trusted. Every query of every round is one Gaussian mechanism
    of sensitivity √2, data-dependent savings are not taken: they would have to be kept secret. The clients should be at
    least a hundred; the noise does not shrink when they are few.

    A client that abstains casts no vote; a sample without votes gets a random class.
    """

    noise: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    needs_individual_reports: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive("noise", self.noise)

    def aggregate(self, stack: ReportStack) -> Teacher:
        return self._winners(vote_counts(stack), stack)

    def summand(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
        return cast_votes(logits)

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return self._winners(reports.total.double(), reports)

    def _winners(self, counts: Tensor, reports: ReportStack | ReportSum) -> Teacher:
        winners = noised(counts, self.noise, reports).argmax(dim=-1)
        return Teacher.from_probabilities(torch.nn.functional.one_hot(winners, counts.shape[-1]).float())

    def guarantee(self, release: Release) -> Guarantee:
        return vote_guarantee(self.noise)

    def dp_event(self, release: Release) -> DpEvent:
        return (GaussianEvent(self.noise / SENSITIVITY, count=release.queries),)

    def usability(self, release: Release) -> str:
        return vote_usability(self.noise, release.clients)


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


def check_positive(name: str, value: float) -> None:
    """Raises ``ValueError`` for an option that must be finite and positive."""
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and greater than 0, got {value}")
