"""Entropy reduction averaging."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from fedkd import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.aggregation.voting import vote_shares, voted_mean


@dataclass
class Era(LogitAggregator):
    """softmax(p̄ / T), p̄ = Σ_k softmax(z_k) / K over the clients that vote (DS-FL, Itahara et al., arXiv 2008.06180).

    A low ``temperature`` T sharpens uncertain means. As the softmax is of probabilities, no share of a target exceeds
    1 / (1 + (C − 1)·exp(−1/T)). Needs only the sum of the clients' probabilities.
    """

    temperature: Annotated[float, Field(ge=1e-3)] = 0.1

    needs_individual_reports: ClassVar[bool] = False

    def aggregate(self, stack: ReportStack) -> Teacher:
        mean = voted_mean(stack, lambda logits: logits.softmax(dim=-1))
        return Teacher.from_logits((mean / self.temperature).float(), client_weight=vote_shares(stack))

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return Teacher.from_logits((reports.mean / self.temperature).float())
