"""Clients that go wrong in one way each."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import LocalWork


@dataclass(frozen=True)
class NoSuchClass(ClientBehaviour):
    """Has a label that is no class, which nobody notices before it trains."""

    def labels(self, work: LocalWork) -> Int[Tensor, " train"]:
        return work.labels + work.workspace.data.classes


@dataclass(frozen=True)
class Refuses(ClientBehaviour):
    """Fails before it trains."""

    def labels(self, work: LocalWork) -> Int[Tensor, " train"]:
        raise ValueError(f"client {work.client} has better things to do")
