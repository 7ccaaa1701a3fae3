"""What may change when a run is resumed, and what the user should know about it."""

from collections.abc import Iterator
from pathlib import Path

import torch

from fedkd.config.identity import FREE_KEYS, ROUNDS, differences, divided_budgets, shown
from fedkd.config.load import to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError, FolderError
from fedkd.core.messages import parameter_digest
from fedkd.distillation.divergence import mean
from fedkd.distillation.temperature import build_temperature
from fedkd.experiment import Experiment
from fedkd.privacy.attempts import name_of
from fedkd.results.checkpoint import Origin


def check_changes(folder: Path, before: ExperimentConfig, after: ExperimentConfig, *, done: int) -> list[str]:
    """What to tell the user who resumes the run in ``folder``, with ``done`` rounds, by a config that differs.

    Raises ``ConfigError`` with every difference that would make the result that of no config at all.
    """
    changes = differences(to_mapping(before), to_mapping(after))
    rounds = changes.pop(ROUNDS, None)
    problems = [
        f"{path}: the run in {folder} has {shown(old)}, got {shown(new)}; put {shown(old)} back to go on with it, or "
        "start a new run with another --out"
        for path, (old, new) in changes.items()
        if path not in FREE_KEYS
    ]
    remarks = [
        f"{path}: {shown(old)} until now, {shown(new)} from here; the rounds do not depend on it"
        for path, (old, new) in changes.items()
        if path in FREE_KEYS
    ]
    if rounds is not None:
        problems += _round_faults(folder, before, after, done)
        remarks += _round_remarks(before, after, done)
    if problems:
        raise ConfigError(problems)
    return remarks


def contents_of(experiment: Experiment) -> dict[str, str]:
    """SHA-256 of what a configuration only names, and files or code outside it make: initial weights and data."""
    data = experiment.data
    # What stays in its file would be read as a whole.
    samples = [each if isinstance(each, torch.Tensor) else len(each) for each in (data.inputs, data.test_inputs)]
    digest = name_of(data.labels, data.test_labels, data.public.digest, samples)
    found = {f"data of {experiment.config.data.dataset.name}": digest}
    for index, model in enumerate(experiment.architectures):
        state = experiment.initial_model(index).state_dict()
        found[f"initial weights of {model.name} ({index})"] = parameter_digest(state)
    return found


def check_contents(before: Origin, now: Origin) -> None:
    """Raise ``FolderError`` where a run would go on with other data or weights than it began with.

    Not with other versions or on another type of machine, where their last digits may differ.
    """
    if (before.versions, before.cpu) != (now.versions, now.cpu):
        return
    if other := [name for name, digest in before.contents.items() if now.contents.get(name) != digest]:
        raise FolderError(
            f"it was begun with other {' and '.join(other)}: files or code that the configuration names have changed"
        )


def _round_faults(folder: Path, before: ExperimentConfig, after: ExperimentConfig, done: int) -> Iterator[str]:
    if after.rounds < done:
        yield (
            f"rounds: {done} rounds of the run in {folder} are done, got {after.rounds}; ask for at least {done}, or "
            "start a new run with another --out"
        )
    for path, value in divided_budgets(to_mapping(before)):
        if done > 0:
            yield (
                f"rounds: {path} = {shown(value)} is divided among {before.rounds} rounds, {done} of them done, "
                f"got {after.rounds}; leave rounds = {before.rounds}, or start a new run with another --out"
            )


def _round_remarks(before: ExperimentConfig, after: ExperimentConfig, done: int) -> Iterator[str]:
    yield f"rounds: {before.rounds} until now, {after.rounds} from here"
    if done > 0 and _varies(before):
        yield (
            f"distillation.temperature: {before.distillation.temperature.name} runs over all rounds, which were "
            f"{before.rounds} and are {after.rounds} now; the result differs from that of a run that had "
            f"{after.rounds} from the start"
        )


def _varies(config: ExperimentConfig) -> bool:
    """Whether the temperature depends on how far the training is, and with that on the number of rounds."""
    spec = config.distillation.temperature
    schedule = build_temperature(spec.name, **spec.options)
    teacher = torch.arange(10.0).unsqueeze(0).log_softmax(dim=-1)
    found = schedule.contenders.values() or [schedule]
    return any(len({mean(each(index / 100, teacher)) for index in range(101)}) > 1 for each in found)
