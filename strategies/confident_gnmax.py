"""Confident-GNMax: the noisy majority, where it is a clear one."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.aggregation.voting import cast_votes, vote_counts
from fedkd.privacy.accounting import DpEvent, GaussianEvent
from fedkd.privacy.calibration import check_epsilon, check_scale
from fedkd.privacy.guarantee import Guarantee, Release
from fedkd.privacy.private import Private
from fedkd.privacy.teacher_noise import SENSITIVITY, Noise, noised, vote_guarantee, vote_signal_to_noise


@dataclass
class ConfidentGNMax(LogitAggregator, Private):
    """GNMax on the samples where the largest count plus N(0, σ_t²) reaches a threshold (Papernot et al. 2018,
    arXiv 1802.08908, Algorithm 1); σ is ``noise``, σ_t ``threshold_noise``, the threshold a share of the reports.

    The threshold costs for every query asked, a Gaussian mechanism of sensitivity 1; so that the cost is known before
    anything is released, answers are charged up to ``answers``, a share of the queries, and given to the first that
    pass. The other samples get weight 0. With ``target_epsilon``, ε of the whole run, the two noises only say how they
    relate: both are multiplied by the least number that meets it. Unit, relation and adversary are GNMax's.
    """

    noise: Noise = 1.0
    threshold_noise: Noise = 1.0
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.6
    answers: Annotated[float, Field(gt=0, le=1)] = 1.0
    target_epsilon: Noise | None = None

    needs_individual_reports: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_scale("noise", self.noise)
        check_scale("threshold_noise", self.threshold_noise)
        if self.target_epsilon is not None:
            check_epsilon(self.target_epsilon)
        if not 0 < self.answers <= 1:
            raise ValueError(f"answers must lie in (0, 1], got {self.answers}; it is a share of the queries")

    def aggregate(self, stack: ReportStack) -> Teacher:
        return self._confident(vote_counts(stack), len(stack.clients), stack)

    def summand(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
        return cast_votes(logits)

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return self._confident(reports.total.double(), reports.count, reports)

    def _confident(self, counts: Tensor, clients: int, reports: ReportStack | ReportSum) -> Teacher:
        self._check_fixed()
        samples, classes = counts.shape
        reached = noised(counts.amax(dim=-1), self.threshold_noise, reports.noise) >= self.threshold * clients
        answered = reached & (reached.cumsum(dim=0) <= self._most_answers(samples))
        winners = torch.nn.functional.one_hot(noised(counts, self.noise, reports.noise).argmax(dim=-1), classes).float()
        target = torch.where(answered.unsqueeze(-1), winners, torch.full_like(winners, 1 / classes))
        return Teacher.from_probabilities(target, sample_weight=answered.float())

    def guarantee(self, release: Release) -> Guarantee:
        self._check_fixed()
        return vote_guarantee(self.noise)

    def dp_event(self, release: Release) -> DpEvent:
        self._check_fixed()
        return (
            GaussianEvent(self.threshold_noise, count=release.queries),
            GaussianEvent(self.noise / SENSITIVITY, count=self._most_answers(release.queries)),
        )

    def signal_to_noise(self, release: Release) -> str:
        most = self._most_answers(release.queries)
        votes = vote_signal_to_noise(self.noise, release.clients)
        return f"at most {most} of {release.queries} samples are answered; {votes}"

    def with_noise(self, noise: float) -> "ConfidentGNMax":
        """Both of its noises times a factor."""
        return replace(
            self, noise=noise * self.noise, threshold_noise=noise * self.threshold_noise, target_epsilon=None
        )

    def _check_fixed(self) -> None:
        if self.target_epsilon is not None:
            raise ValueError("noise is not known yet; take what calibrated() returns")

    def _most_answers(self, queries: int) -> int:
        return max(1, math.floor(self.answers * queries))
