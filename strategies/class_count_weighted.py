"""Mean of the clients' probabilities, weighted per class by how many samples of it each client holds."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class ClassCountWeighted(LogitAggregator):
    """p(c) ∝ Σ_k n_kc p_k(c) / Σ_k n_kc over the voting clients, n_kc client k's private samples of class c.

    Whoever has seen a class has the say about it: the usual remedy for label skew, and a strong one. Where no voter
    holds a class, as where all counts are 0, the class gets the voters' plain mean.

    Leaks every client's label counts to the server, and believes what is claimed: a client that names large counts has
    the say. Uses individual reports, though a sum of reports weighted by the clients themselves would do.
    """

    needs_label_counts: ClassVar[bool] = True

    def aggregate(self, stack: ReportStack) -> Teacher:
        counts = torch.zeros_like(stack.logits[:, 0]) if stack.label_counts is None else stack.label_counts
        voting = stack.votes.double().unsqueeze(-1)
        weight = voting * counts.double().unsqueeze(1)
        total = weight.sum(dim=0)
        weight = weight.where(total > 0, voting)
        pooled = (weight * stack.probabilities.double()).sum(dim=0) / weight.sum(dim=0)
        held = counts.double().sum(dim=1) + torch.finfo(torch.float64).tiny
        return Teacher.from_probabilities(pooled.float(), client_weight=(held / held.sum()).float())
