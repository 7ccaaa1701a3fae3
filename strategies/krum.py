"""Krum: the report that is closest to its neighbours."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from fedkd.aggregation import LogitAggregator, ReportStack, Teacher


@dataclass
class Krum(LogitAggregator):
    """The whole report with the smallest sum of squared distances to its K − f − 2 nearest (Blanchard et al. 2017).

    On probabilities (arXiv 1703.02757 has gradients). f is ``byzantine``; with fewer than 2f + 3 clients it shrinks to
    (K − 3)/2, rounded down. Reports that tie, as the nearest two of three do, are averaged. Abstentions: a distance is
    the mean over the samples on which both vote; where the chosen client abstains, the others' mean takes its place.

    Uses individual reports, and follows one client: the target discloses that client's answers.
    """

    byzantine: Annotated[int, Field(ge=0)] = 1

    def aggregate(self, stack: ReportStack) -> Teacher:
        scores = krum_scores(stack, tolerated(self.byzantine, len(stack.clients)))
        best = scores.min()
        return mean_of(stack, scores <= best + 1e-9 * best.abs() + 1e-12)


def tolerated(byzantine: int, clients: int) -> int:
    """f, or the largest number for which Krum is defined: K ≥ 2f + 3."""
    return max(0, min(byzantine, (clients - 3) // 2))


def krum_scores(stack: ReportStack, byzantine: int) -> Float[Tensor, " clients"]:
    """Each report's sum of squared distances to its K − f − 2 nearest others; large for one who shares no samples."""
    clients = len(stack.clients)
    votes, probabilities = stack.votes.double(), stack.probabilities.double()
    if clients == 1:
        return votes.new_zeros(1)
    # torch.cdist knows no abstentions. The Gram matrix is exact enough here: probabilities are bounded, in float64.
    flat = (probabilities * votes.unsqueeze(-1)).flatten(start_dim=1)
    norms = probabilities.square().sum(dim=-1) * votes
    shared = votes @ votes.T
    squared = (norms @ votes.T + votes @ norms.T - 2.0 * flat @ flat.T).clamp_min(0.0) / shared.clamp_min(1.0)
    squared = ((squared + squared.T) / 2.0).masked_fill(shared == 0, 4.0)  # two distributions are at most 2 apart
    others = squared.fill_diagonal_(torch.inf).sort(dim=1).values
    return others[:, : max(1, clients - byzantine - 2)].sum(dim=1)


def mean_of(stack: ReportStack, chosen: Bool[Tensor, " clients"]) -> Teacher:
    """The mean of the chosen clients' probabilities where one of them votes, and of all clients' elsewhere."""
    everyone = stack.votes.double()
    weight = everyone * chosen.double().unsqueeze(-1)
    weight = weight.where(weight.sum(dim=0) > 0, everyone)
    mean = torch.einsum("ks,ksc->sc", weight, stack.probabilities.double()) / weight.sum(dim=0).unsqueeze(-1)
    return Teacher.from_probabilities(mean.float(), client_weight=(chosen.double() / chosen.sum()).float())
