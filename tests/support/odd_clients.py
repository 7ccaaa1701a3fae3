"""Clients that go wrong in one way each."""

from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload


@dataclass(frozen=True)
class NoSuchClass(ClientBehaviour):
    """Has a label that is no class, which nobody notices before it trains."""

    def labels(self, context: ClientContext) -> Int[Tensor, " train"]:
        return context.labels + context.experiment.data.classes


@dataclass(frozen=True)
class Refuses(ClientBehaviour):
    """Fails before it trains."""

    def labels(self, context: ClientContext) -> Int[Tensor, " train"]:
        raise ValueError(f"client {context.client} has better things to do")


@dataclass(frozen=True)
class Huge(ClientBehaviour):
    """Sends parameters that are all finite and within their bounds, and whose model says nothing sensible."""

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        upload = rule.respond(context)
        return replace(upload, arrays={name: array * array.dtype.type(1e4) for name, array in upload.arrays.items()})
