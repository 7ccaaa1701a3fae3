"""Enhanced entropy reduction averaging."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedkd import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.aggregation.voting import vote_shares, voted_mean

FLOOR = torch.finfo(torch.float32).tiny
"""Smallest mean probability, so that its logarithm is finite."""


@dataclass
class EnhancedEra(LogitAggregator):
    """p̄(c)^β / Σ_e p̄(e)^β, p̄ the mean of the voting clients' probabilities (SCARLET, Azuma et al., arXiv 2504.19602).

    ``exponent`` β: 1 is the plain mean, above 1 sharpens, below 1 flattens; unlike a softmax of p̄ it keeps the mean's
    certain targets certain. Needs only the sum of the clients' probabilities.
    """

    exponent: Annotated[float, Field(gt=0)] = 2.0

    needs_individual_reports: ClassVar[bool] = False

    def aggregate(self, stack: ReportStack) -> Teacher:
        mean = voted_mean(stack, lambda logits: logits.softmax(dim=-1))
        powered = self.exponent * mean.clamp_min(FLOOR).log()
        return Teacher.from_logits(powered.float(), client_weight=vote_shares(stack))

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return Teacher.from_logits((self.exponent * reports.mean.clamp_min(FLOOR).log()).float())
