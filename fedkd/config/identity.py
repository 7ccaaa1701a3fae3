"""What makes two configurations those of one run: everything but the keys that may change when it is resumed."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

ROUNDS = "rounds"

FREE_KEYS = frozenset(
    {
        "engine.kind",
        "engine.workers",
        "engine.address",
        "engine.clients_per_node",
        "engine.timeout",
        "student.init",
        "data.partition.path",
        "data.tasks.path",
        "clients.min_reports",
        "controls",
        "tracking",
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
"""Keys on which no round depends: where the work is done, when to stop, and what is computed after the last round.

Of a file that belongs to the run they say where it lies; that it is the same is known by its digest, under another key.
"""

_PLACES = frozenset({"data.root"})
"""Keys that differ between machines on which the same run is at home."""

_USUAL: Mapping[str, Any] = {
    "data.transform.name": "standardise",
    "data.partition.path": None,
    "data.partition.sha256": None,
    "data.public.corruption.rotate": 0.0,
    "data.public.corruption.invert": False,
    "data.public.corruption.noise": 0.0,
    "data.public.label_noise": 0.0,
    "data.tasks": None,
    "data.heads": [],
    "student.init": None,
    "student.init_sha256": None,
    "distillation.fresh_optimiser": False,
    "distillation.align_batch_norm": {},
    "distillation.measure_geometry_every": 10,
    "teacher": None,
    "clients.keep_batch_norm": "none",
    "clients.self_distillation": 0.0,
    "clients.self_temperature": 1.0,
    "clients.self_classes": "all",
    "clients.measure_test": False,
    "tracking": [],
}
"""Keys that count only when they hold something else: who does not use one has the run, and its noise, without it."""

_ALONE = frozenset({"distillation.loss"})
"""Lists of plug-ins of which one alone, without options, counts as its name."""

NOT_SET = object()
"""Stands for the value of a key that a configuration lacks."""


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The dotted paths at which two resolved configurations differ, each with both values."""
    old, new = dict(leaves(before)), dict(leaves(after))
    pairs = {path: (old.get(path, NOT_SET), new.get(path, NOT_SET)) for path in (old | new)}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def divided_budgets(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys, with their values, that divide a privacy budget among all rounds, whose number then has to stay."""
    return ((path, value) for path, value in leaves(config) if path.endswith(".target_epsilon") and value is not None)


def run_digest(config: Mapping[str, Any]) -> str:
    """A digest, in hexadecimal, of a resolved configuration without what may change while the run goes on."""
    fixed = {path: value for path, value in leaves(settled(config)) if path not in FREE_KEYS | _PLACES | {ROUNDS}}
    return hashlib.sha256(json.dumps(fixed, sort_keys=True, default=str).encode()).hexdigest()


def settled(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A resolved configuration without the keys that need not be named, for they hold what is usual."""
    kept: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        inner = settled(value, f"{path}.") if isinstance(value, Mapping) else value
        if path in _ALONE and len(value) == 1 and list(value[0]) == ["name"]:
            inner = value[0]["name"]
        if not (path in _USUAL and value == _USUAL[path]) and (inner != {} or value == {}):
            kept[key] = inner
    return kept


@lru_cache(maxsize=4)
def run_digest_of(config: str) -> str:
    """``run_digest`` of a resolved configuration as JSON."""
    return run_digest(json.loads(config))


def shown(value: Any) -> str:
    """A value as messages have it."""
    return "nothing" if value is NOT_SET else json.dumps(value, ensure_ascii=False, default=str)


def leaves(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by dotted path."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
