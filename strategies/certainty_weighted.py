"""Mean of the clients' logits, weighted per sample by how certain each client is."""

import math
from dataclasses import dataclass

import torch

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class CertaintyWeighted(LogitAggregator):
    """softmax(Σ_k s_k z_k / Σ_k s_k) with a score s_k per client and sample: FedAUX's form (Sattler et al. 2021).

    FedAUX's clients send a score; here the server reads it off the report: s_k = 1 − H(softmax(z_k)) / ln C, from 0 for
    a uniform report to 1 for a one-hot one. Where no client is certain of anything all weigh the same.

    Uses individual reports. A client that claims certainty is believed, and its logits have no bound: not robust.
    """

    def aggregate(self, stack: ReportStack) -> Teacher:
        votes, logits = stack.votes.double(), stack.logits.double()
        entropy = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
        score = votes * (1.0 - entropy / math.log(max(logits.shape[-1], 2))).clamp_min(0.0)
        score = score.where(score.sum(dim=0) > 0, votes)
        pooled = torch.einsum("ks,ksc->sc", score / score.sum(dim=0), logits)
        return Teacher.from_logits(pooled.float(), client_weight=(score.sum(dim=1) / score.sum()).float())
