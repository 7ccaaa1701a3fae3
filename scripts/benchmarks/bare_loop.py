"""Federated distillation as one would write it without fedkd: two worker processes, and a loop in the main one.

The data, the models and the fit of the teacher are fedkd's; training, predicting, dispatching and distilling are not.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import ReportStack
from fedkd.config.load import to_json
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.experiment import Experiment
from fedkd.models import batch_sizes
from fedkd.server.setup import new_strategy

State = dict[str, npt.NDArray[np.float32]]


class BareLoop:
    """A student, and the processes that train its clients. ``round`` runs a round and returns the test accuracy."""

    def __init__(self, experiment: Experiment, workers: int) -> None:
        self._experiment = experiment
        self._config = to_json(experiment.config)
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread)
        self._teacher = new_strategy(experiment)
        self._student = experiment.initial_model()
        distillation = experiment.config.distillation
        self._optimiser = torch.optim.SGD(
            self._student.parameters(), lr=distillation.learning_rate, momentum=distillation.momentum
        )

    def round(self) -> float:
        data = self._experiment.data
        by_size = sorted(range(len(data.clients)), key=lambda client: -data.clients[client].train.numel())
        state = {name: tensor.numpy() for name, tensor in self._student.state_dict().items()}
        futures = {client: self._pool.submit(_client, self._config, client, state) for client in by_size}
        logits = torch.stack([torch.from_numpy(futures[client].result()) for client in sorted(futures)])
        examples = torch.tensor([client.train.numel() for client in data.clients])
        stack = ReportStack(logits, examples, data.public.labels, tuple(sorted(futures)))
        self._distil(self._teacher(stack).log_probabilities)
        logits = _logits(self._student, data.test_inputs[:])
        return float((logits.argmax(dim=1) == data.test_labels).float().mean())

    def close(self) -> None:
        self._pool.shutdown()

    def _distil(self, target: Tensor) -> None:
        config, public = self._experiment.config.distillation, self._experiment.data.public
        temperature = float(config.temperature.options["value"])
        weight = float(config.balancer.options["value"])
        usable = ~public.validation
        unlabelled = usable.nonzero().squeeze(1)
        labelled = (usable & (public.labels != UNKNOWN_LABEL)).nonzero().squeeze(1)
        self._student.train()
        batches = zip(
            _batches(unlabelled, config.batch_size), _batches(labelled, config.labelled_batch_size), strict=False
        )
        losses = []
        for step, (chosen, known) in enumerate(islice(batches, config.steps)):
            rate = min((step + 1) / max(config.warmup, 1), 1.0) * (1 - step / config.steps)
            for group in self._optimiser.param_groups:
                group["lr"] = config.learning_rate * rate
            inputs = public.inputs[torch.cat([chosen, known])].contiguous(memory_format=torch.channels_last)
            logits = self._student(inputs)
            teacher = (target[chosen] / temperature).log_softmax(dim=1)
            student = (logits[: len(chosen)] / temperature).log_softmax(dim=1)
            dist = temperature**2 * nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)
            task = nn.functional.cross_entropy(logits[len(chosen) :], public.labels[known])
            loss = weight * dist + (1 - weight) * task
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()
            losses.append(loss.item())


def _one_thread() -> None:
    torch.set_num_threads(1)


def _client(config_json: str, client: int, state: State) -> npt.NDArray[np.float32]:
    """The client's logits on the public samples, after training the student on its own ones."""
    experiment = Experiment.of(config_json)
    config, data = experiment.config.clients, experiment.data
    model = experiment.initial_model()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    optimiser = torch.optim.SGD(model.parameters(), lr=config.learning_rate, momentum=config.momentum)
    own = data.clients[client].train
    model.train()
    for _ in range(config.epochs):
        for batch in own[torch.randperm(len(own))].split(batch_sizes(len(own), config.batch_size)):
            inputs = data.inputs[batch].contiguous(memory_format=torch.channels_last)
            loss = nn.functional.cross_entropy(model(inputs), data.labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    logits: npt.NDArray[np.float32] = _logits(model, data.public.inputs).numpy()
    return logits


@torch.no_grad()
def _logits(model: nn.Module, inputs: Tensor) -> Tensor:
    model.eval()
    return torch.cat([model(part.contiguous(memory_format=torch.channels_last)) for part in inputs.split(512)])


def _batches(samples: Tensor, size: int) -> Iterator[Tensor]:
    """Shuffled passes over the samples for ever, in full batches."""
    while True:
        yield from (batch for batch in samples[torch.randperm(len(samples))].split(size) if len(batch) == size)
