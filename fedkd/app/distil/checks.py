"""Whether one network can be distilled into another: whether there are data, models that work, and losses that fit."""

import copy
from collections.abc import Iterator

from torch import nn

from fedkd.app.loss_checks import choice_faults, loss_faults
from fedkd.app.model_checks import student_faults
from fedkd.config.given import pinned
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError, PluginError
from fedkd.core.faults import told_by_line
from fedkd.distillation.batch_norm import alignment_faults
from fedkd.distillation.network import NetworkTeacher
from fedkd.experiment import Experiment, forget_changed_files


@told_by_line("preparing the distillation", PluginError)
def check(config: ExperimentConfig) -> tuple[Experiment, nn.Module]:
    """The experiment, and its teacher before it is trained.

    Raises ``ConfigError`` with everything that cannot work, ``DataError`` where data are missing.
    """
    problems: list[str] = []
    try:
        config = pinned(config)
    except ConfigError as error:
        problems += error.problems
    problems += _faults(config)
    forget_changed_files(config)
    experiment = Experiment.of(config)
    problems += choice_faults(experiment)
    try:
        experiment.data  # noqa: B018  # loaded here, for its faults are the configuration's as well
    except ConfigError as error:
        problems += error.problems
    if problems or (teacher := config.teacher) is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    problems += student_faults(experiment)
    try:
        network = experiment.initial_teacher(teacher)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    except PluginError as error:
        raise ConfigError([*problems, f"teacher.model: {error}"]) from error
    if not problems:
        problems += loss_faults(experiment, NetworkTeacher(copy.deepcopy(network), experiment.data.spec))
        problems += alignment_faults(experiment.initial_model(), network, config.distillation.align_batch_norm)
    if problems:
        raise ConfigError(problems)
    return experiment, network


def _faults(config: ExperimentConfig) -> Iterator[str]:
    public, teacher = config.data.public, config.teacher
    for key, asked in (
        ("mechanism", config.privacy.mechanism.name != "none"),
        ("secure_aggregation", config.privacy.secure_aggregation is not None),
    ):
        if asked:
            value = "none" if key == "mechanism" else "null"
            yield (
                f"privacy.{key}: protects what clients send, and `fedkd distill` has none and keeps nothing private; "
                f"set privacy.{key}={value}"
            )
    if config.tracking:
        yield "tracking: follows the rounds of `fedkd run`, and `fedkd distill` has none; leave it out"
    if teacher is None:
        yield (
            "teacher: names the network that `fedkd distill` distils, got null; write a section, such as teacher: "
            "{model: resnet18}, or take fedkd run, where clients teach"
        )
    if config.data.at_home:
        yield (
            "data.partition.scheme: at_home leaves private data on the nodes of a deployment, and `fedkd distill` has "
            "none; choose another scheme"
        )
    if public.size == 0:
        yield "data.public.size: the student is distilled on public samples, got 0; raise it"
    elif public.labelled == 0 and teacher is not None and teacher.trained_on == "public" and teacher.epochs > 0:
        yield (
            "data.public.labelled: the teacher is to be trained on the labelled public samples alone, got 0; raise it, "
            "or set teacher.trained_on=all"
        )
