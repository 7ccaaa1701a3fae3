"""Every shipped configuration, made so small that it runs in a fraction of a second."""

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from fedkd.config.load import load_config, to_mapping
from fedkd.config.shipped import config_names
from fuzzing.meaning import scalar

SMALL: Mapping[str, Any] = {
    "rounds": 1,
    "data.dataset": "digits",
    "data.private_size": 60,
    "data.partition.scheme": "iid",
    "data.partition.min_samples": 2,
    "data.partition.path": None,
    "data.public.size": 40,
    "data.public.labelled": 16,
    "data.public.dataset": None,
    "data.public.round_size": None,
    "clients.count": 3,
    "clients.epochs": 1,
    "clients.batch_size": 32,
    "student.model": "mlp",
    "student.init": None,
    "distillation.steps": 2,
    "distillation.batch_size": 16,
    "distillation.balancer": "cosine",
    "controls": [],
    "privacy.audit.shadows": 2,
    "privacy.audit.surrogate_epochs": 1,
    "engine.kind": "inline",
}
SMALL_IF_THERE: Mapping[str, Any] = {
    "student.rule.pretrain_steps": 2,
    "student.rule.epochs": 1,
    "clients.rule.pretrain_epochs": 1,
    "clients.rule.digest_epochs": 1,
    "clients.rule.samples": 8,
}


@cache
def _shrunk(name: str) -> dict[str, Any]:
    mapping = to_mapping(load_config(name))
    for path, value in SMALL.items():
        put(mapping, path, value)
    for path, value in SMALL_IF_THERE.items():
        if at(mapping, path) is not None:
            put(mapping, path, value)
    if mapping["strategy"] == {"name": "stacked"}:  # fits itself for longer than all else takes
        mapping["strategy"] = {"name": "mean_logits"}
    if mapping["clients"]["models"]:
        mapping["clients"]["models"] = [{"name": "mlp"}, {"name": "mlp", "hidden": [8]}]
    return mapping


def shrunk(name: str) -> dict[str, Any]:
    """A shipped configuration as nested mappings, resolved and made small."""
    return copy.deepcopy(_shrunk(name))


def overrides(name: str) -> list[str]:
    """What makes a shipped configuration small, for the command line."""
    small = shrunk(name)
    paths = [*SMALL, "strategy", *(path for path in SMALL_IF_THERE if at(small, path) is not None)]
    if small["clients"]["models"]:
        paths.append("clients.models")
    return [f"{path}={flow(at(small, path))}" for path in paths]


class _Dumper(yaml.SafeDumper):
    """Quotes texts that YAML 1.2 takes for something else; PyYAML only knows what version 1.1 does."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    plain = len(text) < 100 and isinstance(scalar(text), str)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def block(value: Any) -> str:
    """A value as YAML."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False)


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def names() -> list[str]:
    """The shipped configurations of federated runs."""
    found = {name: load_config(name) for name in config_names()}
    return [name for name, config in found.items() if config.teacher is None and config.data.tasks is None]


def at(mapping: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for part in path.split("."):
        mapping = mapping.get(part) if isinstance(mapping, Mapping) else None
    return mapping


def put(mapping: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path; what is no section on the way there becomes one."""
    *parents, last = path.split(".")
    for part in parents:
        if not isinstance(mapping.get(part), dict):
            mapping[part] = {"name": mapping[part]} if isinstance(mapping.get(part), str) else {}
        mapping = mapping[part]
    mapping[last] = value


def leaves(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted paths of all values that are no sections, and these values."""
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
