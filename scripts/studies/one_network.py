"""One network as the teacher of several students."""

from pathlib import Path

import torch
from torch import nn

from fedkd.app.distil.training import distil_student, train_alone, train_teacher
from fedkd.core.errors import RunError
from fedkd.distillation.network import NetworkTeacher
from fedkd.experiment import Experiment


def keep_teacher(experiment: Experiment, file: Path) -> None:
    """Train the teacher, and write its weights."""
    section = experiment.config.teacher
    if section is None:
        raise RunError("the study's experiment has no section teacher; write one")
    network = experiment.initial_teacher(section)
    train_teacher(experiment, section, network, _silent)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), file)


def kept_teacher(experiment: Experiment, file: Path) -> NetworkTeacher:
    """The teacher with the weights that were written."""
    section = experiment.config.teacher
    if section is None:
        raise RunError("the study's experiment has no section teacher; write one")
    network = experiment.initial_teacher(section)
    network.load_state_dict(torch.load(file, weights_only=True))
    return NetworkTeacher(network, experiment.data.spec)


def taught(experiment: Experiment, teacher: NetworkTeacher | None) -> nn.Module:
    """A student of the teacher's, or one trained, in as many steps, on the labelled public samples alone."""
    student = experiment.initial_model()
    if teacher is None:
        train_alone(experiment, student, _silent)
    else:
        distil_student(experiment, teacher, student, _silent)
    return student


def _silent(done: int, total: int) -> None:
    """Progress that nobody sees: the study counts students."""
