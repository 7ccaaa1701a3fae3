"""Geometric median of the clients' probabilities."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class GeometricMedian(LogitAggregator):
    """argmin_v Σ_k ‖p_k − v‖₂ per sample over the voting clients, by Weiszfeld's algorithm from their mean.

    RFA (Pillutla et al., arXiv 1912.13445) on probabilities: ``iterations`` times v ← Σ_k β_k p_k / Σ_k β_k with
    β_k = 1 / max(``smoothing``, ‖p_k − v‖). RFA stops after three iterations to save communication; here they
    are cheap. Holds while fewer than half of the voting clients collude.

    Uses individual reports: the server sees what each client answers.
    """

    iterations: Annotated[int, Field(ge=1)] = 30
    smoothing: Annotated[float, Field(gt=0)] = 1e-6

    def aggregate(self, stack: ReportStack) -> Teacher:
        votes, probabilities = stack.votes.double(), stack.probabilities.double()
        weight = votes / votes.sum(dim=0)
        for _ in range(self.iterations):
            centre = torch.einsum("ks,ksc->sc", weight, probabilities)
            distance = torch.linalg.vector_norm(probabilities - centre, dim=-1)
            weight = votes / distance.clamp_min(self.smoothing)
            weight = weight / weight.sum(dim=0)
        centre = torch.einsum("ks,ksc->sc", weight, probabilities)
        return Teacher.from_probabilities(centre.float(), client_weight=weight.mean(dim=1).float())
