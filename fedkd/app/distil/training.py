"""Training the networks of a distillation: the teacher, the student, and the same student without a teacher."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from fedkd.app.distil.heads import private_labels, public_labels
from fedkd.config.schema import DistillationConfig, TeacherConfig
from fedkd.config.values import Plugin
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.distillation.balanced_step import StepRow
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.batch_norm import align
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.scope import Scope
from fedkd.distillation.temperature import build_temperature
from fedkd.distillation.temperature_choice import TemperatureChoice
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from fedkd.server.setup import new_distiller

Progress = Callable[[int, int], None]


def train_teacher(experiment: Experiment, section: TeacherConfig, network: nn.Module, progress: Progress) -> None:
    """Train a network on the labelled samples that ``section`` says, with the changes to images that the student sees.

    Its learning rate rises and falls as the student's, and falls along half a cosine.
    """
    inputs, labels = labelled_samples(experiment, everything=section.trained_on == "all")
    size = min(section.batch_size, len(labels))
    steps = math.ceil(section.epochs * len(labels) / size)
    config = replace(
        experiment.config.distillation,
        optimiser=section.optimiser,
        learning_rate=section.learning_rate,
        schedule="cosine",
    )
    trainer = on_labels(experiment, network, config)
    trainer.fit_labels(inputs, labels, round=1, steps=steps, batch_size=size, progress=progress)


def distil_student(
    experiment: Experiment, network: NetworkTeacher, student: nn.Module, progress: Progress
) -> tuple[list[float], list[StepRow], TemperatureChoice | None]:
    """Distil the teacher into the student on the public samples, when layers of ``align_batch_norm`` are aligned.

    Returns its test accuracy after each round, the steps, and how a temperature was chosen if one was.
    """
    config, data = experiment.config, experiment.resident
    align(student, network.model, config.distillation.align_batch_norm)
    trainer = new_distiller(experiment, student, network)
    trainer.scope = Scope(heads=data.head_sizes)
    public = data.public
    teacher = network.on(public.inputs)
    held_out = Validation(public.validation, public.told[public.validation])
    history: list[float] = []
    rows: list[StepRow] = []
    choice = None
    for round in range(1, config.rounds + 1):
        distilled = trainer.distil(
            teacher,
            public.inputs,
            public_labels(data),
            round=round,
            validation=held_out,
            progress=_of_all(progress, round, config.rounds),
        )
        rows += distilled.rows
        choice = choice or distilled.choice
        history.append(accuracy(trainer.main, data.test_inputs, data.test_labels))
    return history, rows, choice


def train_alone(experiment: Experiment, student: nn.Module, progress: Progress) -> list[float]:
    """The control: as many steps, in the larger of the two batch sizes, on the labelled public samples alone.

    Returns the test accuracy after each round.
    """
    config, data = experiment.config, experiment.resident
    section = config.distillation
    trainer = on_labels(experiment, student, section)
    history = []
    for round in range(1, config.rounds + 1):
        trainer.fit_labels(
            data.public.inputs,
            public_labels(data),
            round=round,
            batch_size=max(section.batch_size, section.labelled_batch_size),
            progress=_of_all(progress, round, config.rounds),
        )
        history.append(accuracy(trainer.main, data.test_inputs, data.test_labels))
    return history


def labelled_samples(
    experiment: Experiment, *, everything: bool
) -> tuple[Shaped[Tensor, "samples ..."], Int[Tensor, "samples *heads"]]:
    """The labelled public samples, with ``everything`` behind the private ones of all clients together."""
    data = experiment.resident
    labelled = (data.public.labels != UNKNOWN_LABEL).nonzero().squeeze(1)
    inputs, labels = data.public.inputs[labelled], public_labels(data)[labelled]
    if not everything:
        return inputs, labels
    pooled = torch.cat([client.train for client in data.clients])
    return torch.cat([data.inputs[pooled], inputs]), torch.cat([private_labels(data)[pooled], labels])


def _of_all(progress: Progress, round: int, rounds: int) -> Progress:
    """Progress within one round as that within all of them."""
    return lambda done, total: progress((round - 1) * total + done, rounds * total)


def on_labels(
    experiment: Experiment, network: nn.Module, section: DistillationConfig, *, seed: int | None = None
) -> Distiller:
    """What trains a network without a teacher; its draws are by ``seed``, or the experiment's."""
    trainer = Distiller(
        network,
        build_balancer("fixed", value=0.0),
        replace(section, loss=(Plugin("kl"),)),
        temperature=build_temperature("constant"),
        seed=experiment.config.seed if seed is None else seed,
        rounds=experiment.config.rounds,
    )
    trainer.scope = Scope(heads=experiment.data.head_sizes)
    return trainer
