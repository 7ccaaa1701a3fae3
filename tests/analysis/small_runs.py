"""Finished runs that never ran: a few samples and networks, to ask analyses about."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fedkd.analysis.subject import Samples, Subject
from fedkd.config.load import parse_config
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.samples import SampleSpec
from fedkd.data import ExperimentData, PublicSet
from fedkd.experiment import Experiment


class SmallRun(Subject):
    """A subject made of its parts: public samples are those of ``train``, labelled, and the inputs ``unlabelled``."""

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        test: Samples,
        train: Samples | None = None,
        *,
        unlabelled: Tensor | None = None,
        clients: Mapping[int, nn.Module] | None = None,
        weights: Mapping[int, float] | None = None,
        teacher: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        labelled = train or Samples(test.inputs[:0], test.labels[:0])
        more = test.inputs[:0] if unlabelled is None else unlabelled
        super().__init__(_experiment(test, labelled, more), networks, temperature=2.0)
        self._clients, self._weights, self._teacher = clients or {}, weights, teacher

    @property
    def clients(self) -> Mapping[int, nn.Module]:
        return self._clients

    @property
    def client_weights(self) -> Mapping[int, float] | None:
        return self._weights

    def teacher(self, inputs: Tensor) -> Tensor:
        if self._teacher is None:
            return super().teacher(inputs)
        with torch.no_grad():
            return self._teacher(inputs).log_softmax(dim=-1)


def _experiment(test: Samples, train: Samples, unlabelled: Tensor) -> Experiment:
    labels = torch.cat([train.labels, train.labels.new_full((len(unlabelled),), UNKNOWN_LABEL)])
    inputs = torch.cat([train.inputs, unlabelled])
    data = ExperimentData(
        spec=SampleSpec(tuple(test.inputs.shape[1:]), None if test.inputs.is_floating_point() else 9),
        class_names=("one", "two"),
        inputs=test.inputs[:0],
        labels=test.labels[:0],
        clients=(),
        public=PublicSet(inputs, labels, labels, torch.zeros(len(labels), dtype=torch.bool)),
        test_inputs=test.inputs,
        test_labels=test.labels,
    )
    return Experiment(parse_config({}), given=data)


def linear(*rows: list[float]) -> nn.Linear:
    """A network whose logits are these rows times the sample."""
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer
