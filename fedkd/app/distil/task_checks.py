"""Whether tasks can be learned in sequence: whether there are samples of each, a model that works, losses that fit."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from fedkd.app.distil.training import labelled_samples
from fedkd.app.loss_checks import loss_faults
from fedkd.app.model_checks import student_faults
from fedkd.config.given import pinned
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError, PluginError
from fedkd.core.faults import told_by_line
from fedkd.data.tasks import Numbers, Task, sequence
from fedkd.distillation.network import NetworkTeacher
from fedkd.distillation.temperature import build_temperature
from fedkd.experiment import Experiment, forget_changed_files


@dataclass(frozen=True)
class Course:
    """An experiment's tasks, and the labelled samples, private and public, of which they have their positions."""

    experiment: Experiment
    tasks: tuple[Task, ...]
    inputs: Shaped[Tensor, "samples ..."]
    labels: Int[Tensor, " samples"]


@told_by_line("preparing the tasks", PluginError)
def check_tasks(config: ExperimentConfig) -> Course:
    """What is to be learned; raises ``ConfigError`` with everything that cannot work, ``DataError`` without data."""
    problems: list[str] = []
    try:
        config = pinned(config)
    except ConfigError as error:
        problems += error.problems
    problems += _faults(config)
    forget_changed_files(config)
    experiment = Experiment.of(config)
    try:
        course = _course(experiment)
    except ConfigError as error:
        raise ConfigError(list(dict.fromkeys([*problems, *error.problems]))) from error
    faults = list(student_faults(experiment))
    if not faults:
        faults += loss_faults(experiment, NetworkTeacher(experiment.initial_model(), experiment.data.spec))
    if problems := [*problems, *faults]:
        raise ConfigError(problems)
    return course


def _course(experiment: Experiment) -> Course:
    data, rule = experiment.data, experiment.config.data.tasks
    if rule is None or data.tasks is None:
        raise ConfigError(["data.tasks: says which tasks are learned, got null; write a section, such as {count: 2}"])
    inputs, labels = labelled_samples(experiment, everything=True)
    pooled = torch.cat([client.train for client in data.clients])
    train = torch.cat([data.tasks.private[pooled], data.tasks.public[data.public.labelled]])
    numbers = Numbers(train, data.tasks.test)
    tasks = sequence(numbers, labels, data.class_names, rehearsed=rule.rehearsed, seed=experiment.config.seed)
    return Course(experiment, tasks, inputs, labels)


def _faults(config: ExperimentConfig) -> Iterator[str]:
    distillation = config.distillation
    if config.teacher is not None:
        yield (
            f"teacher: in a sequence of tasks the student's former self teaches, got {config.teacher.model.name}; set "
            "teacher=null, or data.tasks=null"
        )
    if distillation.label_share > 0:
        yield (
            "distillation.label_share: a former self has no say about new labels, got "
            f"{distillation.label_share:g} with data.tasks; set distillation.label_share=0"
        )
    if distillation.patience is not None:
        yield (
            "distillation.patience: tasks are learned without validation samples, got "
            f"{distillation.patience} with data.tasks; set distillation.patience=null"
        )
    if distillation.align_batch_norm:
        yield (
            "distillation.align_batch_norm: a former self has the student's own layers, got "
            f"{dict(distillation.align_batch_norm)} with data.tasks; set distillation.align_batch_norm={{}}"
        )
    spec = distillation.temperature
    if build_temperature(spec.name, **spec.options).contenders:
        yield (
            "distillation.temperature: tasks are learned without validation samples to choose on, got "
            f"{spec.name} with data.tasks; name a temperature"
        )
    if distillation.measure_classes_every > 0:
        yield (
            "distillation.measure_classes_every: measures all classes, of which a sequence of tasks has seen some, got "
            f"{distillation.measure_classes_every}; set distillation.measure_classes_every=0"
        )
