"""How a client keeps to its rule, or does not."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload
from fedkd.core.returned import returned, returned_tensor


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


def labels_of(behaviour: ClientBehaviour, context: ClientContext) -> Int[Tensor, " train"]:
    """The labels that a client of that behaviour trains on; raises ``ValueError`` where it gives no such."""
    found, wanted = behaviour.labels(context), context.labels
    return returned_tensor(found, behaviour, "labels", "labels [train]", tuple(wanted.shape), wanted.dtype)


def answer_of(behaviour: ClientBehaviour, context: ClientContext, rule: ClientRule) -> Upload:
    """What a client of that behaviour sends; raises ``ValueError`` where that is no upload about the queries."""
    author = rule if type(behaviour).respond is ClientBehaviour.respond else behaviour
    upload = returned(behaviour.respond(context, rule), Upload, author, "respond")
    queries = len(context.queries)
    if upload.logits is not None:
        shape = queries, context.experiment.data.classes
        returned_tensor(upload.logits, author, "respond", "logits [queries, classes]", shape)
    if upload.mask is not None:
        returned_tensor(upload.mask, author, "respond", "a mask [queries]", (queries,), torch.bool)
    return upload


def forged_by(behaviour: ClientBehaviour, view: AdversaryView) -> Float[Tensor, "samples classes"]:
    """The logits that an attacker of that behaviour replaces its own by; raises ``ValueError`` for none."""
    shape = tuple(view.own.shape)
    return returned_tensor(behaviour.collude(view), behaviour, "collude", "logits [samples, classes]", shape)
