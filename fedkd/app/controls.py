"""Controls: what the same data, model, local epochs and number of rounds give without federated distillation."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from fedkd.config.load import to_json
from fedkd.config.schema import ExperimentConfig
from fedkd.config.values import Plugin
from fedkd.core.compute import fixed_threads
from fedkd.core.errors import RunError
from fedkd.core.messages import UNKNOWN_LABEL, Job, Reply
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.temperature import build_temperature
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from fedkd.server.reports import read_measurement
from fedkd.server.server import Server

Progress = Callable[[int, int], None]
RunJob = Callable[[Job, Sequence[int]], Iterable[Reply]]


def public_only(
    experiment: Experiment, progress: Progress, keep: Callable[[nn.Module], None] = lambda network: None
) -> tuple[list[float], float | None]:
    """Test accuracy after each round of a student trained on the labelled public samples alone, with the same steps.

    Also its accuracy on the server's validation samples after the last round, where there are any. ``keep`` is given
    the trained network.
    """
    config, data = experiment.config, experiment.resident
    trainer = _trainer_on_labels(experiment)
    history = []
    with fixed_threads(config.engine.server_threads):
        for round in range(1, config.rounds + 1):
            trainer.fit_labels(data.public.inputs, data.public.labels, round=round)
            history.append(accuracy(trainer.student, data.test_inputs, data.test_labels))
            progress(round, config.rounds)
        keep(trainer.student)
        held_out = data.public.validation
        if not bool(held_out.any()):
            return history, None
        return history, accuracy(trainer.student, data.public.inputs[held_out], data.public.told[held_out])


def centralised(experiment: Experiment, progress: Progress) -> list[float]:
    """Test accuracy after each round of one model trained on all private and all labelled public samples together.

    It is trained as a student is, optimiser, changed images and averaged weights included: for as many steps in batches
    of ``distillation.batch_size``, and for at least the passes over the samples that the clients make.
    """
    config, data = experiment.config, experiment.resident
    labelled = (data.public.labels != UNKNOWN_LABEL).nonzero().squeeze(1)
    pooled = torch.cat([client.train for client in data.clients])
    inputs = torch.cat([data.inputs[pooled], data.public.inputs[labelled]])
    labels = torch.cat([data.labels[pooled], data.public.labels[labelled]])
    size = min(config.distillation.batch_size, labels.numel())
    steps = max(config.distillation.steps, math.ceil(config.clients.epochs * labels.numel() / size))
    trainer = _trainer_on_labels(experiment)
    history = []
    with fixed_threads(config.engine.server_threads):
        for round in range(1, config.rounds + 1):
            trainer.fit_labels(inputs, labels, round=round, steps=steps, batch_size=size)
            history.append(accuracy(trainer.student, data.test_inputs, data.test_labels))
            progress(round, config.rounds)
    return history


def _trainer_on_labels(experiment: Experiment) -> Distiller:
    """What trains a new student without a teacher, as ``distillation`` says."""
    config = experiment.config
    return Distiller(
        experiment.initial_model(),
        build_balancer("fixed", value=0.0),
        config.distillation,
        temperature=build_temperature("constant"),
        seed=config.seed,
        rounds=config.rounds,
    )


def fedavg(experiment: Experiment, run: RunJob, progress: Progress) -> list[float]:
    """Test accuracy after each round of federated averaging (McMahan et al. 2017, arXiv 1602.05629, Algorithm 1).

    Honest clients with the student's architecture and plain cross-entropy; else the same data, optimiser and epochs.
    Raises ``RunError`` when a round brings no model.
    """
    server = Server.build(Experiment.of(to_json(_averaging(experiment.config))))
    history = []
    for round in range(1, experiment.config.rounds + 1):
        job = server.job(round)
        record = server.finish_round(job, run(job, server.sampled(round))).record
        if record.student_accuracy is not None:
            history.append(record.student_accuracy)
        progress(round, experiment.config.rounds)
    return history


def _averaging(config: ExperimentConfig) -> ExperimentConfig:
    """The experiment with federated averaging as its algorithm."""
    plain = ExperimentConfig()
    resources = {name: wanted for name, wanted in config.engine.resources.items() if name == config.student.model.name}
    clients = replace(
        config.clients,
        models=(),
        rule=Plugin("parameters"),
        logit_adjustment=0.0,
        self_distillation=0.0,
        keep_batch_norm="none",
        behaviour=plain.clients.behaviour,
        attackers=plain.clients.attackers,
    )
    return replace(
        config,
        clients=clients,
        student=replace(config.student, rule=Plugin("average")),
        communication=plain.communication,
        privacy=plain.privacy,
        controls=(),
        engine=replace(config.engine, resources=resources),
    )


def local_only(experiment: Experiment, run: RunJob, progress: Progress) -> list[float]:
    """The mean, over all clients, of the test accuracy of a model trained on the client's own data alone."""
    clients = range(experiment.config.clients.count)
    found: dict[int, float] = {}
    for reply in run(Job("local", 1, to_json(experiment.config), measure=True), clients):
        with suppress(ValueError):  # of a client without an accuracy, the others' mean says nothing
            if (share := read_measurement(reply, {}).test_accuracy) is not None:
                found[reply.client] = share
        progress(len(found), len(clients))
    if not found:
        raise RunError("the local_only control got no accuracy from any client; leave local_only out of controls")
    return [float(np.mean([found[client] for client in sorted(found)]))]
