"""What a client does with a round's work."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedkd.evaluation import predict
from fedkd.local.training import train
from fedkd.local.workspace import Workspace
from fedkd.seeding import torch_generator
from fedkd.types import Arrays


@dataclass(frozen=True)
class LocalWork:
    """One client's work in one round: its data, the received student, and the images it is asked about."""

    workspace: Workspace
    client: int
    round: int
    received: Arrays
    queries: Float[Tensor, "queries channels height width"]

    def student(self) -> nn.Module:
        """A fresh copy of the student as it was received."""
        return self.workspace.model(self.received)

    def train(self, model: nn.Module) -> nn.Module:
        """``model`` after this round's local epochs on the client's private training samples."""
        config = self.workspace.config
        train(
            model,
            self.workspace.data.images,
            self.workspace.data.labels,
            self.workspace.data.clients[self.client].train,
            config.clients,
            epochs=config.clients.epochs,
            generator=self.generator("local training"),
        )
        return model

    def answer(self, model: nn.Module) -> Float[Tensor, "queries classes"]:
        """The model's logits on the queries."""
        return predict(model, self.queries)

    def generator(self, purpose: str) -> torch.Generator:
        """This client's own randomness for one purpose in this round."""
        return torch_generator(self.workspace.config.seed, round=self.round, client=self.client, purpose=purpose)


class ClientBehaviour(ABC):
    """How a client comes to its answer: honestly, or not."""

    @abstractmethod
    def respond(self, work: LocalWork) -> Float[Tensor, "queries classes"]:
        """The logits on ``work.queries`` that the client hands to the privacy mechanism."""
