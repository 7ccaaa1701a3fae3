"""Subjects of which everything is known, and networks that say what they are told."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedkd.analysis.analysis import NotKnown
from fedkd.analysis.subject import Samples, Subject
from fedkd.config.load import parse_config
from fedkd.core.samples import SampleSpec
from fedkd.data import ExperimentData, PublicSet
from fedkd.experiment import Experiment


class Says(nn.Module):
    """Puts out what a function makes of samples."""

    def __init__(self, say: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        self._say = say

    def forward(self, inputs: Tensor) -> Tensor:
        return self._say(inputs)


class Toy(Subject):
    """A subject made of its parts; ``ensemble`` are what the clients answer."""

    def __init__(
        self,
        test: Samples,
        networks: Mapping[str, nn.Module],
        *,
        classes: int,
        validation: Samples | None = None,
        clients: Mapping[int, nn.Module] | None = None,
        ensemble: Callable[[Tensor], Tensor] | None = None,
        temperature: float = 1.0,
        vocabulary: int | None = None,
    ) -> None:
        super().__init__(_experiment(test, validation, classes, vocabulary), networks, temperature=temperature)
        self._clients, self._ensemble = dict(clients or {}), ensemble

    @property
    def clients(self) -> Mapping[int, nn.Module]:
        return self._clients

    def client_answers(self, inputs: Tensor) -> Tensor:
        if self._ensemble is None:
            raise NotKnown("a secure sum hides each client's answers")
        return self._ensemble(inputs)

    def teacher(self, inputs: Tensor) -> Tensor:
        if self._ensemble is None:
            return super().teacher(inputs)
        return self._ensemble(inputs).softmax(dim=-1).mean(dim=0).log()


def _experiment(test: Samples, validation: Samples | None, classes: int, vocabulary: int | None) -> Experiment:
    held_out = validation or Samples(test.inputs[:0], test.labels[:0])
    count = len(held_out.labels)
    data = ExperimentData(
        spec=SampleSpec(tuple(test.inputs.shape[1:]), vocabulary),
        class_names=tuple(map(str, range(classes))),
        inputs=test.inputs[:0],
        labels=test.labels[:0],
        clients=(),
        public=PublicSet(held_out.inputs, held_out.labels, held_out.labels, torch.ones(count, dtype=torch.bool)),
        test_inputs=test.inputs,
        test_labels=test.labels,
    )
    return Experiment(parse_config({}), given=data)
