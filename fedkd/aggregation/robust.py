"""Means that a few wrong reports cannot move far."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from fedkd.aggregation.types import ReportStack, Teacher


def tolerated(malicious: int, clients: int) -> int:
    """f, or the largest number for which Krum is defined: K ≥ 2f + 3."""
    return max(0, min(malicious, (clients - 3) // 2))


def krum_scores(stack: ReportStack, malicious: int) -> Float[Tensor, " clients"]:
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
    return others[:, : max(1, clients - malicious - 2)].sum(dim=1)


def mean_of(stack: ReportStack, chosen: Bool[Tensor, " clients"]) -> Teacher:
    """The mean of the chosen clients' probabilities where one of them votes, and of all clients' elsewhere."""
    everyone = stack.votes.double()
    weight = everyone * chosen.double().unsqueeze(-1)
    weight = weight.where(weight.sum(dim=0) > 0, everyone)
    mean = torch.einsum("ks,ksc->sc", weight, stack.probabilities.double()) / weight.sum(dim=0).unsqueeze(-1)
    return Teacher.from_probabilities(mean.float(), client_weight=(chosen.double() / chosen.sum()).float())


def trimmed_mean(
    values: Float[Tensor, "clients samples classes"], votes: Float[Tensor, "clients samples"], trim: int
) -> Float[Tensor, "samples classes"]:
    """The mean over the voting clients without the ``trim`` largest and smallest values, or as many as leave one."""
    voters = votes.sum(dim=0).unsqueeze(-1)
    cut = ((voters - 1) / 2).floor().clamp_max(trim)
    ordered = values.masked_fill(votes.unsqueeze(-1) == 0, torch.inf).sort(dim=0).values
    rank = torch.arange(len(values), dtype=values.dtype).view(-1, 1, 1)
    kept = (rank >= cut) & (rank < voters - cut)
    return ordered.masked_fill(~kept, 0.0).sum(dim=0) / (voters - 2 * cut)
