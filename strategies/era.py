"""Entropy reduction averaging."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from fedkd.aggregation import LogitAggregator, ReportStack, ReportSum, Teacher


@dataclass
class Era(LogitAggregator):
    """softmax(p̄ / T), p̄ = Σ_k softmax(z_k) / K over the clients that vote (DS-FL, Itahara et al., arXiv 2008.06180).

    A low ``temperature`` T sharpens uncertain means. As the softmax is of probabilities, no share of a target exceeds
    1 / (1 + (C − 1)·exp(−1/T)). Needs only the sum of the clients' probabilities.
    """

    temperature: Annotated[float, Field(gt=0)] = 0.1

    needs_individual_reports: ClassVar[bool] = False

    def aggregate(self, stack: ReportStack) -> Teacher:
        votes = stack.votes.double()
        mean = torch.einsum("ks,ksc->sc", votes, stack.probabilities.double()) / votes.sum(dim=0).unsqueeze(-1)
        return Teacher.from_logits(
            (mean / self.temperature).float(), client_weight=(votes.sum(1) / votes.sum()).float()
        )

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return Teacher.from_logits((reports.mean / self.temperature).float())
