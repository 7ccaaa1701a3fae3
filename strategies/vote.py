"""Vote: every client names one class per sample."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from fedkd.aggregation import LogitAggregator, ReportStack, Teacher


@dataclass
class Vote(LogitAggregator):
    """Shares of the clients' top classes, or with ``noise`` σ > 0 the one class argmax(counts + N(0, σ²)).

    PATE's vote (Papernot et al. 2017) and its Gaussian noisy maximum, GNMax (Papernot et al. 2018, arXiv 1802.08908).
    A client more or less moves the counts of a sample by 1, a changed vote by √2, in the Euclidean norm. Without noise
    the target is as certain as the clients are united, with noise it is one-hot.

    Needs only the sum of the clients' one-hot votes, but casts them on the server, which therefore sees the reports.
    """

    noise: Annotated[float, Field(ge=0)] = 0.0

    def aggregate(self, stack: ReportStack) -> Teacher:
        classes = stack.logits.shape[-1]
        choices = torch.nn.functional.one_hot(stack.logits.argmax(dim=-1), classes).double()
        counts = torch.einsum("ks,ksc->sc", stack.votes.double(), choices)
        if self.noise == 0:
            return Teacher.from_probabilities(counts.float())
        if stack.generator is None:
            raise ValueError(
                "noise > 0 draws from the stack's generator, and it has none; pass generator= to the stack"
            )
        drawn = torch.randn(counts.shape, generator=stack.generator, dtype=counts.dtype)
        winner = (counts + self.noise * drawn).argmax(dim=-1)
        return Teacher.from_probabilities(torch.nn.functional.one_hot(winner, classes).float())
