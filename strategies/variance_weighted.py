"""Mean of the clients' logits, weighted per sample by their variance over the classes."""

from dataclasses import dataclass

import torch

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class VarianceWeighted(LogitAggregator):
    """softmax(Σ_k α_k z_k), α_k = Var(z_k) / Σ_j Var(z_j) per sample (Fed-ET, Cho et al. 2022, arXiv 2204.12703).

    The variance, over the classes, stands for confidence. Where no client's logits vary all weigh the same. Fed-ET's
    diversity loss belongs to the student and is not part of the teacher.

    Uses individual reports. A client that scales its logits by c has up to c³ times the say: not robust.
    """

    def aggregate(self, stack: ReportStack) -> Teacher:
        votes, logits = stack.votes.double(), stack.logits.double()
        variance = votes * logits.var(dim=-1, correction=0)
        variance = variance.where(variance.sum(dim=0) > 0, votes)
        weight = variance / variance.sum(dim=0)
        pooled = torch.einsum("ks,ksc->sc", weight, logits)
        return Teacher.from_logits(pooled.float(), client_weight=weight.mean(dim=1).float())
