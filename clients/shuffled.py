"""An attacker that answers other questions than it is asked."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd import ClientBehaviour, ClientContext, ClientRule, Upload
from fedkd.client.forging import forged


@dataclass(frozen=True)
class Shuffled(ClientBehaviour):
    """Trains honestly, then sends its answers in random order: z′(x_i) = z(x_π(i)), π uniform, new every round.

    As a collection the answers look honest: the same rows, the same shares of classes, the same certainty.
    """

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        order = torch.randperm(len(context.queries), generator=context.generator("shuffled answers"))
        return forged(rule.respond(context), lambda logits: shuffled(logits, order))


def shuffled(
    logits: Float[Tensor, "samples classes"], order: Int[Tensor, " samples"]
) -> Float[Tensor, "samples classes"]:
    """The rows in another order."""
    return logits[order]
