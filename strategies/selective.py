"""The mean of those clients that vote, where they agree."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedkd import LogitAggregator, ReportStack, Teacher

ROUNDING = 1e-9
"""What a distance may exceed the threshold by, so that the order of a sum decides nothing."""


@dataclass
class Selective(LogitAggregator):
    """p̄ = Σ_k p_k / K over the voting clients, on the samples on which it is not ambiguous.

    The server-side selector of Selective-FD (Shao, Wu and Zhang 2024, Nature Communications 15, arXiv 2304.01731): a
    sample on which nobody votes, or on which p̄ is further than ``threshold`` from its own one-hot label in L1 distance,
    2·(1 − max_c p̄(c)), gets the weight 0. With 2 no sample is too ambiguous, with 1 the top class needs a probability
    of ½, with 0 it needs all of it. ``labels`` says whether clients vote with their probabilities (soft) or with their
    top class (hard); equal top classes share the vote.

    Which clients vote is the business of their rule, also named ``selective``. Uses the mask of each report, and of the
    reports only their sum.
    """

    threshold: Annotated[float, Field(ge=0, le=2)] = 1.0
    labels: Literal["soft", "hard"] = "soft"

    def aggregate(self, stack: ReportStack) -> Teacher:
        beliefs = stack.logits.double().softmax(dim=-1)
        if self.labels == "hard":
            beliefs = _top(beliefs)
        votes = stack.votes.double()
        mean = torch.einsum("ks,ksc->sc", votes, beliefs) / votes.sum(dim=0).unsqueeze(-1)
        kept = 2.0 * (1.0 - mean.amax(dim=-1)) <= self.threshold + ROUNDING
        if stack.mask is not None:
            kept &= stack.mask.any(dim=0)
        return Teacher.from_probabilities(
            mean.float(),
            sample_weight=kept.float(),
            client_weight=(votes.sum(dim=1) / votes.sum()).float(),
        )


def _top(beliefs: Tensor) -> Tensor:
    """One-hot in the most probable class; an even share for each of several."""
    top = (beliefs == beliefs.amax(dim=-1, keepdim=True)).double()
    return top / top.sum(dim=-1, keepdim=True)
