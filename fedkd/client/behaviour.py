"""How a client keeps to its rule, or does not."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload


@dataclass(frozen=True)
class AdversaryView:
    """One attacker's knowledge of a round, once all honest reports are in.

    ``honest`` are the honest clients' logits, ``own`` those that the attacker would send if it were honest;
    ``attackers`` is how many attackers took part, ``generator`` this attacker's own source of randomness.
    """

    honest: Float[Tensor, "honest samples classes"]
    own: Float[Tensor, "samples classes"]
    generator: torch.Generator
    client: int
    attackers: int


class ClientBehaviour:
    """A client that does what its rule says; subclasses depart from that in one of three places.

    With ``needs_others``, ``collude`` replaces the logits that the client sent, once all reports of the round are in.
    Only a simulator can do that: it stands for attackers who know what the honest clients answered. ``remembers`` is
    True when ``respond`` uses ``ClientContext.memory``.
    """

    needs_others: ClassVar[bool] = False
    remembers: ClassVar[bool] = False

    def labels(self, context: ClientContext) -> Int[Tensor, " train"]:
        """The labels that the client trains on; the true ones are ``context.labels``."""
        return context.labels

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        """What the client sends; the rule's answer is ``rule.respond(context)``."""
        return rule.respond(context)

    def collude(self, view: AdversaryView) -> Float[Tensor, "samples classes"]:
        """The logits that replace those the client sent."""
        return view.own
