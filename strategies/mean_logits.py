"""Mean of the clients' logits."""

from dataclasses import dataclass
from typing import ClassVar

from fedkd import LogitAggregator, ReportStack, Teacher
from fedkd.aggregation.voting import vote_shares, voted_mean


@dataclass
class MeanLogits(LogitAggregator):
    """z̄ = Σ_k z_k / K over the clients that vote (FedMD, Li & Wang 2019, arXiv 1910.03581; FedDF, Lin et al. 2020).

    Raw logits have no bound: a single client can move the mean anywhere. Needs only the sum of the reports, but of
    logits, which without a bound cannot be summed securely; gaussian_mean has one.
    """

    needs_individual_reports: ClassVar[bool] = False

    def aggregate(self, stack: ReportStack) -> Teacher:
        mean = voted_mean(stack, lambda logits: logits)
        return Teacher.from_logits(mean.float(), client_weight=vote_shares(stack))
