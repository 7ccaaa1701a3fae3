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
    # As large as a class of the logits, and all ones where nobody abstains.
    votes = None if stack.mask is None else stack.votes
    total = torch.zeros(stack.logits.shape[1:], dtype=torch.float64)
    for client, logits in enumerate(stack.logits):
        own = share(logits).double()
        total += own if votes is None else own * votes[client].double().unsqueeze(-1)
        if (client + 1) % AT_ONCE == 0:
            let_go(stack.logits)
    return total / (len(stack.clients) if votes is None else votes.sum(dim=0, dtype=torch.float64).unsqueeze(-1))


def vote_shares(stack: ReportStack) -> Float[Tensor, " clients"]:
    """Each client's share of all votes."""
    if stack.mask is None:
        return torch.full((len(stack.clients),), 1 / len(stack.clients))
    given = stack.votes.sum(dim=1, dtype=torch.float64)
    return (given / given.sum()).float()
