"""Means over the clients that vote."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.aggregation.report_buffer import release_pages
from fedkd.aggregation.types import ReportStack

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
            release_pages(stack.logits)
    return total / (len(stack.clients) if votes is None else votes.sum(dim=0, dtype=torch.float64).unsqueeze(-1))


def vote_shares(stack: ReportStack) -> Float[Tensor, " clients"]:
    """Each client's share of all votes."""
    if stack.mask is None:
        return torch.full((len(stack.clients),), 1 / len(stack.clients))
    given = stack.votes.sum(dim=1, dtype=torch.float64)
    return (given / given.sum()).float()


def vote_counts(stack: ReportStack) -> Float[Tensor, "samples classes"]:
    """How many clients put each class on top; who abstains votes for none, even where everybody does."""
    choices = cast_votes(stack.logits)
    return (choices if stack.mask is None else choices * stack.mask.unsqueeze(-1)).sum(dim=0)


def cast_votes(logits: Float[Tensor, "*clients samples classes"]) -> Float[Tensor, "*clients samples classes"]:
    """1 for the class on top, 0 for the others, in float64."""
    return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).double()
