"""Whether the architectures of an experiment work: each is tried out once, before anything is trained."""

from collections.abc import Iterator

from fedkd.core.errors import ConfigError, PluginError
from fedkd.core.messages import PARAMETERS
from fedkd.experiment import STUDENT, Experiment
from fedkd.models import batch_norm_entries
from fedkd.server.setup import new_student_rule

REMEDY = "take a model without batch normalisation (norm: group)"


def model_faults(experiment: Experiment) -> Iterator[str]:
    """What is wrong with the architectures, one message each, and where one would be trained on a single sample."""
    for index, spec in enumerate(experiment.architectures):
        key = "student.model" if index == STUDENT else "clients.models"
        try:
            trial = experiment.trial(index)
        except PluginError as error:
            yield f"{key}: {error}"
            continue
        except ConfigError as error:
            yield from error.problems
            continue
        if not trial.trains_on_one:
            yield from _single_samples(experiment, index, _why(spec.name))


def kept_faults(experiment: Experiment) -> Iterator[str]:
    """Where clients are to keep batch normalisation that their models do not have."""
    kept, clients = experiment.config.clients.keep_batch_norm, range(experiment.config.clients.count)
    own = {experiment.architecture_of(client) for client in clients}
    if kept != "none" and not any(batch_norm_entries(experiment.initial_model(index), kept) for index in own):
        names = ", ".join(sorted(experiment.architectures[index].name for index in own))
        what = "batch normalisation" if kept == "all" else "batch normalisation with running statistics"
        yield (
            f"clients.keep_batch_norm: the clients' model ({names}) has no {what} to keep, got {kept}; take a model "
            "that has (such as {name: resnet8, norm: batch}), or set clients.keep_batch_norm=none"
        )


def student_faults(experiment: Experiment) -> Iterator[str]:
    """What is wrong with the student where it learns from one network."""
    try:
        trial = experiment.trial(STUDENT)
    except PluginError as error:
        yield f"student.model: {error}"
    except ConfigError as error:
        yield from error.problems
    else:
        if not trial.trains_on_one:
            yield from _single_public_samples(experiment, _why(experiment.config.student.model.name))


def _why(model: str) -> str:
    return f"model {model!r} cannot be trained on a single sample, of which there are no batch statistics"


def model_remarks(experiment: Experiment) -> list[str]:
    """What the user should read about models that work."""
    remarks = [remark for index in range(len(experiment.architectures)) for remark in experiment.trial(index).remarks]
    kept = experiment.config.clients.keep_batch_norm
    if kept != "none" and new_student_rule(experiment).needs == PARAMETERS:
        own = "statistics" if kept == "statistics" else "γ, β and statistics"
        remarks.append(
            f"clients.keep_batch_norm: the server's model has {own} that no client uses (statistics of the public "
            "samples, where there are any); how well the clients' models do is client_accuracy and, with "
            "clients.measure_test=true, client_test_accuracy"
        )
    return remarks


def _single_samples(experiment: Experiment, architecture: int, why: str) -> Iterator[str]:
    config = experiment.config
    own = [client for client in range(config.clients.count) if experiment.architecture_of(client) == architecture]
    lonely = [client for client in own if experiment.examples(client) == 1]
    if own and config.clients.batch_size == 1:
        yield f"clients.batch_size: must be at least 2, for {why}, got 1; raise it, or {REMEDY}"
    elif lonely:
        yield (
            f"clients: {', '.join(map(str, lonely))} (counted from 0) would train on one sample, and {why}; raise "
            f"data.private_size, lower clients.count, make data.partition more even, or {REMEDY}"
        )
    if architecture == STUDENT and (new_student_rule(experiment).teaches or "public_only" in config.controls):
        yield from _single_public_samples(experiment, why)


def _single_public_samples(experiment: Experiment, why: str) -> Iterator[str]:
    distillation, public = experiment.config.distillation, experiment.data.public
    labelled = public.labelled.numel()
    if distillation.mixed and labelled > 0:
        return
    for key, size in (
        ("batch_size", distillation.batch_size),
        ("labelled_batch_size", distillation.labelled_batch_size),
    ):
        if size == 1 and (key == "batch_size" or labelled > 0):
            yield f"distillation.{key}: must be at least 2, for {why}, got 1; raise it, or {REMEDY}"
    if labelled == 1:
        yield (
            f"data.public.labelled: must leave more than one sample to train on, for {why}, got "
            f"{experiment.config.data.public.labelled}; raise it, set it to 0, or {REMEDY}"
        )
