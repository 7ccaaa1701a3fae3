"""Several clients' work at once: each by itself up to where it trains, then all training in stacks, then the rest.

A client's work is a function of its job and leaves nothing behind before it is done. So it can be broken off where it
trains and done again from the start, with the trained model at hand when it comes to that place.
"""

import copy
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fedkd.client.performer import attempt, describe
from fedkd.client.round import perform
from fedkd.client.training import Loss, Trainer, cross_entropy, train
from fedkd.client.vectorised import Training, signature, train_vectorised, vectorisable
from fedkd.config.schema import ClientsConfig
from fedkd.core.compute import fixed_arithmetic
from fedkd.core.messages import Job, Reply
from fedkd.experiment import Experiment
from fedkd.privacy.mechanism import PrivateTraining

COHORT_BYTES = 2**31
"""About how much memory clients that are trained at once may take, 2 GiB.

A fixed bound: what happens to be free would make results depend, in their last digits, on what else the device does.
"""


class LocalClientFn:
    """Does one client's share of a job, or that of several where the configuration lets them be stacked."""

    def __call__(self, job: Job, client: int) -> Reply:
        with fixed_arithmetic(Experiment.of(job.config).device):
            return perform(job, client)

    def parts(self, job: Job, clients: Sequence[int]) -> list[tuple[int, ...]]:
        """As many clients at once, in their order, as ``COHORT_BYTES`` hold; one where clients are not stacked."""
        experiment = Experiment.of(job.config)
        if not experiment.config.engine.vectorises:
            return [(client,) for client in clients]
        found: list[list[int]] = []
        room = 0
        for client in clients:
            needed = client_bytes(experiment, client)
            if needed > room or not found:
                found.append([])
                room = COHORT_BYTES
            found[-1].append(client)
            room -= needed
        return [tuple(part) for part in found]

    def together(self, job: Job, clients: Sequence[int]) -> list[Reply]:
        """The clients' replies, in their order."""
        courses = {client: _Course() for client in clients}
        replies: dict[int, Reply] = {}
        with fixed_arithmetic(Experiment.of(job.config).device):
            while len(replies) < len(courses):
                waiting: list[tuple[_Course, Training]] = []
                for client, course in courses.items():
                    if client not in replies:
                        try:
                            replies[client] = attempt(_Following(course), job, client)
                        except _Wanted as wanted:
                            waiting.append((course, wanted.training))
                _train_waiting(waiting)
        return [replies[client] for client in clients]


client_fn = LocalClientFn()
"""What engines do clients' work with."""


def client_bytes(experiment: Experiment, client: int) -> int:
    """About how much memory a client takes while it is trained in a stack; its samples are there twice."""
    inputs = experiment.data.inputs
    samples = experiment.data.clients[client].train.numel() * inputs[:1].numel() * inputs.itemsize
    return experiment.training_bytes[experiment.architecture_of(client)] + 2 * samples


class _Wanted(BaseException):
    """A client has come to where it trains. Not an error, so that nothing on the way takes it for one."""

    def __init__(self, training: Training) -> None:
        self.training = training


@dataclass
class _Course:
    """What one client has trained so far; None where it has to train by itself, in the place it would be."""

    done: list[Training | None] = field(default_factory=list)


class _Following:
    """Does a client's work along its course, up to where it wants to train anew; raises ``_Wanted`` there."""

    def __init__(self, course: _Course) -> None:
        self._course = course
        self._index = 0

    def __call__(self, job: Job, client: int) -> Reply:
        trainer: Trainer = self._train
        return perform(job, client, trainer)

    def _train(
        self,
        model: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        config: ClientsConfig,
        *,
        epochs: int,
        generator: torch.Generator,
        loss: Loss = cross_entropy,
        private: PrivateTraining | None = None,
    ) -> None:
        course, index = self._course, self._index
        self._index += 1
        known = course.done[index] if index < len(course.done) else None
        if known is not None:
            model.load_state_dict(known.model.state_dict())
            model.train()
            generator.set_state(known.generator.get_state())
            return
        training = Training(model, inputs, labels, config, epochs, generator, loss, private)
        if index == len(course.done) and vectorisable(training):
            raise _Wanted(training)
        train(**training.arguments)
        # Of its own, because what the client does with the model later must not show when it comes here again.
        kept = replace(training, model=copy.deepcopy(model), generator=generator.clone_state())
        course.done[index:] = [kept]


def _train_waiting(waiting: Sequence[tuple[_Course, Training]]) -> None:
    groups: dict[Hashable, list[tuple[_Course, Training]]] = {}
    for course, training in waiting:
        groups.setdefault(signature(training), []).append((course, training))
    for group in groups.values():
        trained = _train_alike([training for _, training in group])
        for (course, training), done in zip(group, trained, strict=True):
            course.done.append(training if done else None)


def _train_alike(trainings: Sequence[Training]) -> list[bool]:
    """Train them as one stack, or as two where memory does not suffice; which of them went well."""
    if len(trainings) < 2:
        return [False] * len(trainings)
    before = [training.generator.get_state() for training in trainings]
    try:
        train_vectorised(trainings)
        return [True] * len(trainings)
    except torch.OutOfMemoryError:
        half = len(trainings) // 2
    except Exception as error:
        # Each client by itself, so that one that cannot be trained spoils no other.
        warnings.warn(f"{len(trainings)} clients are trained one by one: {describe(error)}", stacklevel=2)
        return [False] * len(trainings)
    # Only here, where nothing holds on any more to what was allocated.
    for training, state in zip(trainings, before, strict=True):
        training.generator.set_state(state)
    return _train_alike(trainings[:half]) + _train_alike(trainings[half:])
