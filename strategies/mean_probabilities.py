"""Mean of the clients' class probabilities."""

from dataclasses import dataclass
from typing import ClassVar

from fedkd import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.aggregation.voting import vote_shares, voted_mean


@dataclass
class MeanProbabilities(LogitAggregator):
    """p̄ = Σ_k softmax(z_k) / K over the clients that vote (FedDF's avg_probs, Lin et al. 2020, arXiv 2006.07242).

    Needs only the sum of the probabilities, so one client among K moves a target by at most 1/K in each class.
    """

    needs_individual_reports: ClassVar[bool] = False

    def aggregate(self, stack: ReportStack) -> Teacher:
        mean = voted_mean(stack, lambda logits: logits.softmax(dim=-1))
        return Teacher.from_probabilities(mean.float(), client_weight=vote_shares(stack))

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return Teacher.from_probabilities(reports.mean.float())
