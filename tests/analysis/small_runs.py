"""Finished runs that never ran: a few samples and networks, to ask analyses about."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedkd.analysis.subject import TEACHER, NotKnown, Samples, Subject
from fedkd.core.seeding import torch_generator

Opinion = Callable[[Tensor], Tensor]


class Toy(Subject):
    """What it is given; there is no teacher unless one is, or is among the networks."""

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        test: Samples,
        train: Samples | None = None,
        *,
        clients: Mapping[int, nn.Module] | None = None,
        weights: Mapping[int, float] | None = None,
        teacher: Opinion | None = None,
    ) -> None:
        self.networks = {name: network.eval() for name, network in networks.items()}
        self.temperature = 2.0
        self._test, self._train, self._teacher = test, train, teacher or self.networks.get(TEACHER)
        self._clients, self._weights = clients or {}, weights

    @property
    def test(self) -> Samples:
        return self._test

    @property
    def train(self) -> Samples:
        if self._train is None:
            raise NotKnown("there are no labelled public samples")
        return self._train

    @property
    def taught_on(self) -> Tensor:
        if self._train is None:
            raise NotKnown("there are no public samples")
        return self._train.inputs

    @property
    def clients(self) -> Mapping[int, nn.Module]:
        return self._clients

    @property
    def client_weights(self) -> Mapping[int, float] | None:
        return self._weights

    def generator(self, purpose: str) -> torch.Generator:
        return torch_generator(0, purpose=purpose)

    @torch.no_grad()
    def teacher(self, inputs: Tensor) -> Tensor:
        if self._teacher is None:
            raise NotKnown("this run has no teacher")
        return self._teacher(inputs).log_softmax(dim=-1)


def linear(*rows: list[float]) -> nn.Linear:
    """A network whose logits are these rows times the sample."""
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer
