"""Clients that go wrong in one way each."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext


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
