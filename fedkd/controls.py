"""Controls: what the same data, model, local epochs and number of rounds give without federated distillation."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from fedkd import plugins
from fedkd.config import to_json
from fedkd.distillation import Distiller
from fedkd.errors import RunError
from fedkd.evaluation import accuracy
from fedkd.local.training import train
from fedkd.local.workspace import Workspace
from fedkd.seeding import torch_generator
from fedkd.threads import fixed_threads
from fedkd.types import UNKNOWN_LABEL, Arrays, Job, Outcome, state_arrays

Progress = Callable[[int, int], None]
RunJob = Callable[[Job, Sequence[int]], Iterable[Outcome]]


def public_only(place: Workspace, progress: Progress) -> tuple[list[float], float | None]:
    """Test accuracy after each round of a student trained on the labelled public samples alone, with the same steps.

    Also its accuracy on the server's validation samples after the last round, where there are any.
    """
    config, data = place.config, place.data
    fixed = plugins.build(plugins.BALANCER, "fixed", {"value": 0.0})
    constant = plugins.build(plugins.TEMPERATURE, "constant", {})
    distiller = Distiller(
        place.initial_student(),
        fixed,
        config.distillation,
        temperature=constant,
        seed=config.seed,
        rounds=config.rounds,
    )
    history = []
    with fixed_threads(config.engine.server_threads):
        for round in range(1, config.rounds + 1):
            distiller.fit_labels(data.public.images, data.public.labels, round=round)
            history.append(accuracy(distiller.student, data.test_images, data.test_labels))
            progress(round, config.rounds)
        held_out = data.public.validation
        if not bool(held_out.any()):
            return history, None
        return history, accuracy(distiller.student, data.public.images[held_out], data.public.truth[held_out])


def centralised(place: Workspace, progress: Progress) -> list[float]:
    """Test accuracy after each round of one model trained on all private and all labelled public samples together."""
    config, data = place.config, place.data
    model = place.initial_student()
    labelled = (data.public.labels != UNKNOWN_LABEL).nonzero().squeeze(1)
    pooled = torch.cat([client.train for client in data.clients])
    images = torch.cat([data.images[pooled], data.public.images[labelled]])
    labels = torch.cat([data.labels[pooled], data.public.labels[labelled]])
    history = []
    with fixed_threads(config.engine.server_threads):
        for round in range(1, config.rounds + 1):
            train(
                model,
                images,
                labels,
                torch.arange(labels.numel()),
                config.clients,
                epochs=config.clients.epochs,
                generator=torch_generator(config.seed, round=round, purpose="centralised"),
            )
            history.append(accuracy(model, data.test_images, data.test_labels))
            progress(round, config.rounds)
    return history


def fedavg(place: Workspace, run: RunJob, sampled: Callable[[int], Sequence[int]], progress: Progress) -> list[float]:
    """Test accuracy after each round of federated averaging (McMahan et al. 2017, arXiv 1602.05629, Algorithm 1)."""
    config, data = place.config, place.data
    model = place.initial_student()
    history = []
    for round in range(1, config.rounds + 1):
        job = Job("fedavg", round, to_json(config), state_arrays(model.state_dict()))
        outcomes = [outcome for outcome in run(job, sampled(round)) if outcome.ok]
        if not outcomes:
            raise RunError(f"the fedavg control got no model in round {round}; leave fedavg out of controls")
        averaged = average_states(outcomes)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in averaged.items()})
        with fixed_threads(config.engine.server_threads):
            history.append(accuracy(model, data.test_images, data.test_labels))
        progress(round, config.rounds)
    return history


def local_only(place: Workspace, run: RunJob, progress: Progress) -> list[float]:
    """The mean, over all clients, of the test accuracy of a model trained on the client's own data alone."""
    clients = range(place.config.clients.count)
    found: dict[int, float] = {}
    for outcome in run(Job("local", 1, to_json(place.config)), clients):
        if outcome.ok:
            found[outcome.client] = float(outcome.metrics["accuracy"])
        progress(len(found), len(clients))
    if not found:
        raise RunError("the local_only control got no accuracy from any client; leave local_only out of controls")
    return [float(np.mean([found[client] for client in sorted(found)]))]


def average_states(outcomes: Sequence[Outcome]) -> Arrays:
    """The example-weighted mean of the clients' states, summed one client at a time in float64 in order of id.

    Whole-number buffers are taken from the first client.
    """
    ordered = sorted(outcomes, key=lambda outcome: outcome.client)
    total = sum(float(outcome.metrics["examples"]) for outcome in ordered)
    first = ordered[0].arrays
    sums: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
    for outcome in ordered:
        share = float(outcome.metrics["examples"]) / total
        for name, array in outcome.arrays.items():
            if np.issubdtype(array.dtype, np.floating):
                part = share * array.astype(np.float64)
                sums[name] = sums[name] + part if name in sums else part
    return {name: sums[name].astype(array.dtype) if name in sums else np.array(array) for name, array in first.items()}
