"""Gaussian mean: clipped logits, averaged, with noise."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.privacy.accounting import DpEvent, GaussianEvent
from fedkd.privacy.calibration import check_scale, fixed_noise
from fedkd.privacy.clipping import clip_report, clip_vectors
from fedkd.privacy.guarantee import Guarantee, Release, sensitivity_of_sum
from fedkd.privacy.private import Private
from fedkd.privacy.signal_to_noise import mean_sentence
from fedkd.privacy.teacher_noise import Noise, noise_option, noised


@dataclass
class GaussianMean(LogitAggregator, Private):
    """(Σ_k clip(z_k) + N(0, σ²))/K: the Gaussian mechanism (Dwork and Roth 2014, Appendix A) on the sum of the logits.

    ``clip`` bounds the norm of each centred logit vector, or of all of a client's together (``per``: vector or report);
    σ, ``noise``, is the standard deviation on the sum, or the least with which the whole run stays below
    ``target_epsilon``; 0.5 where neither is given. The central counterpart of the mechanism gaussian_logits: protects
    each client's whole data (one replaced by any other) from whoever sees the teacher, and trusts the server. The sum
    over N samples has sensitivity 2·clip·√N, or 2·clip.

    A client that abstains adds nothing; the sum is divided by the number of reports all the same, for the divisor would
    tell.
    """

    noise: Noise | None = None
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    per: Literal["vector", "report"] = "vector"
    target_epsilon: Noise | None = None

    needs_individual_reports: ClassVar[bool] = False
    noise_option: ClassVar[str] = "noise"

    def __post_init__(self) -> None:
        self.noise = noise_option(self.noise, self.target_epsilon, default=0.5)
        check_scale("clip", self.clip)

    def aggregate(self, stack: ReportStack) -> Teacher:
        logits = stack.logits
        if stack.mask is not None:
            logits = torch.where(stack.mask.unsqueeze(-1), logits, torch.zeros_like(logits))
        return self._mean(self._clipped(logits).sum(dim=0), len(stack.clients), stack)

    @property
    def summand_bound(self) -> float:
        return self.clip

    def summand(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
        return self._clipped(logits).clamp(-self.clip, self.clip)

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return self._mean(reports.total.double(), reports.count, reports)

    def _clipped(self, logits: Tensor) -> Tensor:
        return (clip_vectors if self.per == "vector" else clip_report)(logits, self.clip)

    def _mean(self, total: Tensor, clients: int, reports: ReportStack | ReportSum) -> Teacher:
        return Teacher.from_logits((noised(total, fixed_noise(self.noise, "noise"), reports.noise) / clients).float())

    def guarantee(self, release: Release) -> Guarantee:
        return Guarantee(
            unit="client",
            neighbouring="replace_one",
            adversary="central",
            sensitivity=self.sensitivity(release.queries),
            noise=fixed_noise(self.noise, "noise"),
            query=f"the sum of the logits, clipped to {self.clip:g} per {self.per} and client",
            excludes="the reports themselves, which the server sees, and what is measured on them for evaluation",
        )

    def sensitivity(self, queries: int) -> float:
        """Δ of the sum over so many samples, under replace-one."""
        bound = self.clip * math.sqrt(queries) if self.per == "vector" else self.clip
        return sensitivity_of_sum(bound, "replace_one")

    def dp_event(self, release: Release) -> DpEvent:
        return (GaussianEvent(fixed_noise(self.noise, "noise") / self.sensitivity(release.queries)),)

    def signal_to_noise(self, release: Release) -> str:
        noise_multiplier = fixed_noise(self.noise, "noise") / self.sensitivity(release.queries)
        return mean_sentence(release, noise_multiplier, "central")
