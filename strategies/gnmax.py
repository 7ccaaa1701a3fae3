"""GNMax: the noisy majority."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.aggregation.voting import cast_votes, vote_counts
from fedkd.privacy.accounting import DpEvent, GaussianEvent
from fedkd.privacy.calibration import fixed_noise
from fedkd.privacy.guarantee import Guarantee, Release
from fedkd.privacy.private import Private
from fedkd.privacy.teacher_noise import SENSITIVITY, Noise, noise_option, noised, vote_guarantee, vote_signal_to_noise


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
    noise_option: ClassVar[str] = "noise"

    def __post_init__(self) -> None:
        self.noise = noise_option(self.noise, self.target_epsilon, default=1.0)

    def aggregate(self, stack: ReportStack) -> Teacher:
        return self._winners(vote_counts(stack), stack)

    def summand(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
        return cast_votes(logits)

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return self._winners(reports.total.double(), reports)

    def _winners(self, counts: Tensor, reports: ReportStack | ReportSum) -> Teacher:
        winners = noised(counts, fixed_noise(self.noise, "noise"), reports.noise).argmax(dim=-1)
        return Teacher.from_probabilities(torch.nn.functional.one_hot(winners, counts.shape[-1]).float())

    def guarantee(self, release: Release) -> Guarantee:
        return vote_guarantee(fixed_noise(self.noise, "noise"))

    def dp_event(self, release: Release) -> DpEvent:
        return (GaussianEvent(fixed_noise(self.noise, "noise") / SENSITIVITY, count=release.queries),)

    def signal_to_noise(self, release: Release) -> str:
        return vote_signal_to_noise(fixed_noise(self.noise, "noise"), release.clients)
