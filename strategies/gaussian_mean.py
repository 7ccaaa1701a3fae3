"""Gaussian mean: clipped logits, averaged, with noise."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.aggregation import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.privacy import DpEvent, GaussianEvent, Guarantee, Private, Release, sensitivity_of_sum
from fedkd.privacy.clipping import clip_vectors
from fedkd.privacy.usability import mean_sentence, signal_to_noise
from strategies.gnmax import check_positive, noised


@dataclass
class GaussianMean(LogitAggregator, Private):
    """(Σ_k clip(z_k) + N(0, σ²))/K: the Gaussian mechanism (Dwork and Roth 2014, Appendix A) on the sum of the logits.

    Each centred logit vector is scaled down to norm ``clip``; σ, ``noise``, is the standard deviation on the sum. The
    central counterpart of the mechanism gaussian_logits: protects each client's whole data (one replaced by any other)
    from whoever sees the teacher, and trusts the server. The sum over N samples has sensitivity 2·clip·√N.

    A client that abstains adds nothing; the sum is divided by the number of reports all the same, for the divisor would
    tell.
    """

    noise: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0

    needs_individual_reports: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive("noise", self.noise)
        check_positive("clip", self.clip)

    def aggregate(self, stack: ReportStack) -> Teacher:
        clipped = clip_vectors(stack.logits, self.clip)
        if stack.mask is not None:
            clipped = torch.where(stack.mask.unsqueeze(-1), clipped, torch.zeros_like(clipped))
        return Teacher.from_logits((noised(clipped.sum(dim=0), self.noise, stack) / len(stack.clients)).float())

    @property
    def summand_bound(self) -> float:
        return self.clip

    def summand(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
        return clip_vectors(logits, self.clip).clamp(-self.clip, self.clip)

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return Teacher.from_logits((noised(reports.total.double(), self.noise, reports) / reports.count).float())

    def guarantee(self, release: Release) -> Guarantee:
        return Guarantee(
            unit="client",
            neighbouring="replace_one",
            adversary="central",
            sensitivity=self.sensitivity(release.queries),
            noise=self.noise,
            query=f"the sum of the logits, clipped to {self.clip:g} per vector and client",
            excludes="the reports themselves, which the server sees, and what is measured on them for evaluation",
        )

    def sensitivity(self, queries: int) -> float:
        """Δ of the sum over so many samples, under replace-one."""
        return sensitivity_of_sum(self.clip * math.sqrt(queries), "replace_one")

    def dp_event(self, release: Release) -> DpEvent:
        return (GaussianEvent(self.noise / self.sensitivity(release.queries)),)

    def usability(self, release: Release) -> str:
        ratio = signal_to_noise(
            noise_multiplier=self.noise / self.sensitivity(release.queries),
            clients=release.clients,
            queries=release.queries,
            classes=release.classes,
            adversary="central",
            replace_one=True,
        )
        return mean_sentence(ratio, release.clients, "central")
