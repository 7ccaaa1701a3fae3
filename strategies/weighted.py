"""Mean of the clients' class probabilities, weighted by their example counts."""

from dataclasses import dataclass
from typing import ClassVar

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class Weighted(LogitAggregator):
    """p̄ = Σ_k (n_k/n) softmax(z_k): FedAvg's weights (McMahan et al. 2017) on probabilities.

    Clients that report no samples at all are weighted equally.

    Leaks each client's number of samples, and believes what is claimed. Uses individual reports, though a sum of
    reports weighted by the clients themselves would do.
    """

    needs_examples: ClassVar[bool] = True

    def aggregate(self, stack: ReportStack) -> Teacher:
        counts = stack.examples.double()
        counts = counts if bool(counts.sum() > 0) else counts + 1.0
        weight = stack.votes.double() * counts.unsqueeze(-1)
        total = weight.sum(dim=0)
        weight = weight.where(total > 0, stack.votes.double())
        mean = (weight.unsqueeze(-1) * stack.probabilities.double()).sum(dim=0) / weight.sum(dim=0).unsqueeze(-1)
        return Teacher.from_probabilities(mean.float(), client_weight=(counts / counts.sum()).float())
