"""Means over the clients that vote."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.aggregation.blocks import let_go
from fedkd.types import ReportStack

Share = Callable[[Float[Tensor, "samples classes"]], Float[Tensor, "samples classes"]]
"""From one client's logits to what it adds to a sum."""

AT_ONCE = 64
"""After so many clients the memory of what was read of them is given back."""


def voted_mean(stack: ReportStack, share: Share) -> Float[Tensor, "samples classes"]:
    """The mean of ``share(logits)`` over the clients that vote on a sample, in float64.

    Summed one client at a time, by client id, so that memory does not grow with the number of clients.
    """
    votes = stack.votes
    total = torch.zeros(stack.logits.shape[1:], dtype=torch.float64)
    for place, (logits, present) in enumerate(zip(stack.logits, votes, strict=True), start=1):
        total += share(logits).double() * present.double().unsqueeze(-1)
        if place % AT_ONCE == 0:
            let_go(stack.logits)
    return total / votes.sum(dim=0, dtype=torch.float64).unsqueeze(-1)


def vote_shares(stack: ReportStack) -> Float[Tensor, " clients"]:
    """Each client's share of all votes."""
    given = stack.votes.sum(dim=1, dtype=torch.float64)
    return (given / given.sum()).float()
