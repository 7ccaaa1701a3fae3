"""Several clients' work at once: each by itself up to where it trains, then all training as one, then the rest.

Each client's work runs in a coroutine of its own, which hands over what it wants trained and goes on from there: rules
and behaviours are written as if there were no other client.
"""

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from greenlet import getcurrent, greenlet

from fedkd.client.performer import attempt, describe
from fedkd.client.round import perform
from fedkd.client.setup import experiment_of
from fedkd.client.training import train
from fedkd.client.vectorised import Training, signature, train_vectorised, vectorisable
from fedkd.core.compute import fixed_arithmetic
from fedkd.core.messages import Job, Reply
from fedkd.experiment import Experiment

COHORT_BYTES = 2**31
"""About how much memory clients that are trained at once may take, 2 GiB.

A fixed bound: what happens to be free would make results depend, in their last digits, on what else the device does.
"""


class LocalClientFn:
    """Does one client's share of a job, or that of several where the configuration lets them be stacked."""

    def __call__(self, job: Job, client: int) -> Reply:
        with fixed_arithmetic(experiment_of(job).device):
            return perform(job, client)

    def parts(self, job: Job, clients: Sequence[int]) -> list[tuple[int, ...]]:
        """As many clients at once, in their order, as ``COHORT_BYTES`` hold; one where clients are not stacked."""
        experiment = experiment_of(job)
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
        coroutines = {client: greenlet(_work) for client in clients}
        replies: dict[int, Reply] = {}
        with fixed_arithmetic(experiment_of(job).device):
            # What each is sent when it goes on: first its job, then whether it has been trained.
            going_on: dict[int, tuple[Any, ...]] = {client: (job, client) for client in clients}
            while going_on:
                waiting: dict[int, Training] = {}
                for client, message in going_on.items():
                    answer = coroutines[client].switch(*message)
                    if isinstance(answer, Training):
                        waiting[client] = answer
                    else:
                        replies[client] = answer
                going_on = {client: (done,) for client, done in _train_waiting(waiting).items()}
        return [replies[client] for client in clients]


client_fn = LocalClientFn()
"""What engines do clients' work with."""


def client_bytes(experiment: Experiment, client: int) -> int:
    """About how much memory a client takes while it is trained in a cohort; its samples are there twice."""
    inputs = experiment.data.inputs
    one = inputs[:1]
    samples = experiment.data.clients[client].train.numel() * one.numel() * one.itemsize
    return experiment.training_bytes[experiment.architecture_of(client)] + 2 * samples


def _work(job: Job, client: int) -> Reply:
    """A client's work in a coroutine; whatever it raises becomes its ``error``."""
    return attempt(lambda job, client: perform(job, client, _train), job, client)


def _train(*arguments: Any, **options: Any) -> None:
    """As ``fedkd.client.training.train``, together with other clients where they can be trained as one."""
    training = Training(*arguments, **options)
    parent = getcurrent().parent
    if vectorisable(training) and parent is not None and parent.switch(training):
        return
    train(**training.arguments)


def _train_waiting(waiting: dict[int, Training]) -> dict[int, bool]:
    """Train them, equals as one; for each client whether it has been trained, and need not train by itself."""
    groups: dict[Hashable, list[int]] = {}
    for client, training in waiting.items():
        groups.setdefault(signature(training), []).append(client)
    trained: dict[int, bool] = {}
    for group in groups.values():
        done = _train_alike([waiting[client] for client in group])
        trained |= dict(zip(group, done, strict=True))
    return {client: trained[client] for client in waiting}


def _train_alike(trainings: Sequence[Training]) -> list[bool]:
    """Train them as one stack, or as two where memory does not suffice; which of them went well."""
    if len(trainings) < 2:
        return [False] * len(trainings)
    before = [training.generator.get_state() for training in trainings]
    half = 0
    try:
        train_vectorised(trainings)
        return [True] * len(trainings)
    except torch.OutOfMemoryError:
        half = len(trainings) // 2
    except Exception as error:
        # Each client by itself, so that one that cannot be trained spoils no other.
        warnings.warn(f"{len(trainings)} clients are trained one by one: {describe(error)}", stacklevel=2)
    # Only here, where nothing holds on any more to what was allocated: as if nothing had been tried.
    for training, state in zip(trainings, before, strict=True):
        training.generator.set_state(state)
    if half == 0:
        return [False] * len(trainings)
    return _train_alike(trainings[:half]) + _train_alike(trainings[half:])
