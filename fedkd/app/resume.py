"""What may change when a run is resumed, and what the user should know about it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from fedkd.config.load import to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError
from fedkd.distillation.temperature import build_temperature

FREE_KEYS = frozenset(
    {
        "engine.kind",
        "engine.workers",
        "engine.address",
        "engine.clients_per_node",
        "engine.timeout",
        "clients.min_reports",
        "controls",
        "privacy.audit.attacks",
        "privacy.audit.observations",
        "privacy.audit.targets",
        "privacy.audit.shadows",
        "privacy.audit.rounds",
        "privacy.audit.views",
        "privacy.audit.candidates",
        "privacy.audit.surrogate_epochs",
        "privacy.audit.level",
    }
)
"""Keys on which no round depends: where the work is done, when to stop, and what is computed after the last round."""

_ROUNDS = "rounds"
_NOT_SET = object()


def check_changes(folder: Path, before: ExperimentConfig, after: ExperimentConfig, *, done: int) -> list[str]:
    """What to tell the user who resumes the run in ``folder``, with ``done`` rounds, by a config that differs.

    Raises ``ConfigError`` with every difference that would make the result that of no config at all.
    """
    changes = dict(_differences(before, after))
    rounds = changes.pop(_ROUNDS, None)
    problems = [
        f"{path}: the run in {folder} has {_text(old)}, got {_text(new)}; put {_text(old)} back to go on with it, or "
        "start a new run with another --out"
        for path, (old, new) in changes.items()
        if path not in FREE_KEYS
    ]
    remarks = [
        f"{path}: {_text(old)} until now, {_text(new)} from here; the rounds do not depend on it"
        for path, (old, new) in changes.items()
        if path in FREE_KEYS
    ]
    if rounds is not None:
        problems += _round_faults(folder, before, after, done)
        remarks += _round_remarks(before, after, done)
    if problems:
        raise ConfigError(problems)
    return remarks


def _round_faults(folder: Path, before: ExperimentConfig, after: ExperimentConfig, done: int) -> Iterator[str]:
    if after.rounds < done:
        yield (
            f"rounds: {done} rounds of the run in {folder} are done, got {after.rounds}; ask for at least {done}, or "
            "start a new run with another --out"
        )
    for path, value in _leaves(to_mapping(before)):
        if done > 0 and path.endswith(".target_epsilon") and value is not None:
            yield (
                f"rounds: {path} = {_text(value)} is divided among {before.rounds} rounds, {done} of them done, "
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
    return len({schedule(index / 100, teacher) for index in range(101)}) > 1


def _differences(before: ExperimentConfig, after: ExperimentConfig) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The dotted paths at which two configs differ, each with both values."""
    old, new = dict(_leaves(to_mapping(before))), dict(_leaves(to_mapping(after)))
    for path in (*old, *(path for path in new if path not in old)):
        pair = old.get(path, _NOT_SET), new.get(path, _NOT_SET)
        if pair[0] != pair[1]:
            yield path, pair


def _leaves(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return "nothing" if value is _NOT_SET else json.dumps(value, ensure_ascii=False)
