"""Vote: every client names one class per sample."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd import LogitAggregator, ReportStack, ReportSum, Teacher
from fedkd.aggregation.voting import cast_votes


@dataclass
class Vote(LogitAggregator):
    """Shares of the clients' top classes: PATE's vote (Papernot et al. 2017, arXiv 1610.05755) without its noise.

    The target is as certain as the clients are united. With noise it is the teacher gnmax.

    Needs only the sum of the clients' one-hot votes: under secure aggregation they cast them themselves, else the
    server does, and sees the reports.
    """

    needs_individual_reports: ClassVar[bool] = False

    def aggregate(self, stack: ReportStack) -> Teacher:
        counts = torch.einsum("ks,ksc->sc", stack.votes.double(), cast_votes(stack.logits))
        return Teacher.from_probabilities(counts.float())

    def summand(self, logits: Float[Tensor, "samples classes"]) -> Float[Tensor, "samples classes"]:
        return cast_votes(logits)

    def aggregate_sum(self, reports: ReportSum) -> Teacher:
        return Teacher.from_probabilities(reports.total.float())
