"""From YAML, mappings and ``key.path=value`` overrides to an ``ExperimentConfig``, with every fault found at once."""

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from fedkd.config.constraints import broken_rules
from fedkd.config.describe import optional_section
from fedkd.config.schema import ExperimentConfig, Plugin, PluginValue, spelt_out
from fedkd.config.shipped import config_path
from fedkd.core import plugins
from fedkd.core.errors import ConfigError

PLUGIN_SECTIONS: tuple[tuple[str, plugins.PluginKind], ...] = (
    ("data.dataset", plugins.DATASET),
    ("data.public.dataset", plugins.DATASET),
    ("clients.behaviour", plugins.BEHAVIOUR),
    ("clients.attackers.behaviour", plugins.BEHAVIOUR),
    ("clients.rule", plugins.CLIENT_RULE),
    ("clients.models", plugins.MODEL),
    ("student.model", plugins.MODEL),
    ("student.rule", plugins.STUDENT_RULE),
    ("strategy", plugins.STRATEGY),
    ("distillation.balancer", plugins.BALANCER),
    ("distillation.temperature", plugins.TEMPERATURE),
    ("communication.uplink", plugins.CODEC),
    ("communication.downlink", plugins.CODEC),
    ("privacy.mechanism", plugins.MECHANISM),
    ("privacy.audit.attacks", plugins.ATTACK),
)
"""Where the plug-ins of each kind are named."""

_PLUGIN_PATHS = frozenset(path for path, _ in PLUGIN_SECTIONS)

_REMEDIES = {
    "missing": "add it",
    "bool_parsing": "write true or false",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "float_parsing": "write a number",
}


def load_config(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, values: Mapping[str, Any] | None = None
) -> ExperimentConfig:
    """The experiment described by a YAML file or a mapping, changed by ``key.path=value`` overrides.

    A file is given by its path, or is a shipped one: ``quickstart``, ``configs/quickstart.yaml``.

    ``values``, by dotted path, are changes that need no parsing; they come before the overrides.

    ``extends: name`` at the top of a file names another one (relative to it, or a shipped one) whose keys hold wherever
    this one does not say otherwise. A plug-in under another name brings none of the other's options along.

    Raises ``ConfigError`` with every fault: unreadable YAML, unknown keys (with the nearest right one), wrong types,
    values out of range, unknown plug-ins, bad options, and sections that contradict each other.
    """
    raw = _read_extended(config_path(source)) if isinstance(source, str | Path) else json.loads(json.dumps(source))
    for path, value in (values or {}).items():
        _put(raw, path, value)
    for override in overrides:
        _put(raw, *parse_override(override))
    _name_defaults(raw)
    return parse_config(raw)


def parse_config(raw: Mapping[str, Any]) -> ExperimentConfig:
    """The experiment described by nested mappings; raises ``ConfigError`` with every fault."""
    problems = list(_unknown_keys(raw, ExperimentConfig, ""))
    faulty = set()
    config: ExperimentConfig | None = None
    try:
        config = TypeAdapter(ExperimentConfig).validate_python(raw)
    except ValidationError as error:
        for fault in error.errors():
            path = ".".join(str(part) for part in fault["loc"] if part != "function-before[_as_plugin(), Plugin]")
            faulty.add(path)
            problems.append(_explain(path, fault))
    problems.extend(_plugin_faults(raw, faulty))
    if config is not None:
        problems.extend(broken_rules(config))
    if problems or config is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    return config


def to_mapping(config: ExperimentConfig) -> dict[str, Any]:
    """The config as plain nested mappings, ready for YAML; ``parse_config`` reads it back."""
    mapping: dict[str, Any] = _plain(config)
    return mapping


def to_json(config: ExperimentConfig) -> str:
    """The config as canonical JSON: equal configs give equal strings."""
    return json.dumps(to_mapping(config), sort_keys=True)


def plugin_at(config: ExperimentConfig, path: str) -> list[Plugin]:
    """The plug-ins named at a path of ``PLUGIN_SECTIONS`` (none, one, or several)."""
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    if value is None:
        return []
    return [value] if isinstance(value, Plugin) else list(value)


def _read_extended(path: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    raw = read_yaml(path)
    raw.pop("reference", None)  # the published result that a reproduction is compared with, no part of the experiment
    if (name := raw.pop("extends", None)) is None:
        return raw
    if not isinstance(name, str):
        raise ConfigError([f"extends: must be the name of a YAML file, got {name!r}; write one, such as fashion_mnist"])
    beside = path.parent / name
    base = beside if beside.is_file() else config_path(name)
    seen = (*seen, path.resolve())
    if base.resolve() in seen:
        raise ConfigError([f"extends: {name} leads back to itself, by way of {path}; extend a file that stands alone"])
    return _merge(_read_extended(base, seen), raw, "")


def _merge(base: dict[str, Any], changes: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        before, path = base.get(key), f"{prefix}{key}"
        if path in _PLUGIN_PATHS:
            before, value = spelt_out(path, before), spelt_out(path, value)
        merged[key] = value
        if isinstance(before, dict) and isinstance(value, dict):
            other = path in _PLUGIN_PATHS and value.get("name", before.get("name")) != before.get("name")
            merged[key] = value if other else _merge(before, value, f"{path}.")
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values at the top of a YAML file, as they stand; raises ``ConfigError`` when there are none."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; give a YAML file or a shipped name such as quickstart"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read ({error})"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: is not valid YAML ({' '.join(str(error).split())})"]) from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError([f"{path}: must hold keys and values at the top, got {type(raw).__name__}"])
    return raw


def parse_override(override: str) -> tuple[str, Any]:
    """The path and the value of ``key.path=value``, which is YAML; raises ``ConfigError``."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError([f"{override!r}: an override is written key.path=value, for example clients.count=20"])
    try:
        return path, yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: {text!r} is not valid YAML ({' '.join(str(error).split())})"]) from error


def _put(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    plugin = last == "name" and ".".join(parents) in _PLUGIN_PATHS
    section = raw
    walked: list[str] = []
    for part in parents:
        walked.append(part)
        below, at = section.get(part), ".".join(walked)
        if at in _PLUGIN_PATHS:
            below = spelt_out(at, below)
        section[part] = below = {} if below is None else below
        if not isinstance(below, dict):
            raise ConfigError([f"{path}: {at} is {below!r} and has no keys below it"])
        section = below
    if plugin and section.get("name", value) != value:
        # Another plug-in brings none of this one's options along.
        section.clear()
    section[last] = value


def _name_defaults(raw: dict[str, Any]) -> None:
    """Options without a name belong to the default plug-in."""
    for path, _ in PLUGIN_SECTIONS:
        section: Any = raw
        for part in path.split("."):
            section = section.get(part) if isinstance(section, dict) else None
        default = plugin_at(ExperimentConfig(), path)
        if isinstance(section, dict) and "name" not in section and len(default) == 1:
            section["name"] = default[0].name


def _unknown_keys(raw: Mapping[str, Any], cls: type, prefix: str) -> Iterator[str]:
    hints = get_type_hints(cls)
    for key, value in raw.items():
        path = f"{prefix}{key}"
        if key not in hints:
            close = difflib.get_close_matches(str(key), list(hints), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the keys here are {', '.join(hints)}"
            yield f"{path}: unknown key, got {value!r}; {hint}"
        elif dataclasses.is_dataclass(section := hints[key]) and section is not Plugin and isinstance(value, Mapping):
            yield from _unknown_keys(value, section, f"{path}.")  # type: ignore[arg-type]
        elif (optional := optional_section(section)) is not None and isinstance(value, Mapping):
            yield from _unknown_keys(value, optional, f"{path}.")
        elif get_origin(section) is dict and isinstance(value, Mapping):
            for name, item in value.items():
                if isinstance(item, Mapping):
                    yield from _unknown_keys(item, get_args(section)[1], f"{path}.{name}.")


def _explain(path: str, fault: Mapping[str, Any]) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = "" if fault["type"] == "missing" else f", got {fault['input']!r}"
    remedy = _REMEDIES.get(fault["type"], "see `fedkd run --help` for what it takes")
    return f"{path}: {message}{given}; {remedy}"


def _plugin_faults(raw: Mapping[str, Any], faulty: set[str]) -> Iterator[str]:
    """Check plug-ins from the raw mapping, so that a fault elsewhere does not hide theirs."""
    for path, kind in PLUGIN_SECTIONS:
        value: Any = raw
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or path in faulty:
            continue
        several = isinstance(value, list | tuple)
        for index, item in enumerate(value if several else [value]):
            try:
                spec = TypeAdapter(PluginValue).validate_python(spelt_out(path, item))
            except ValidationError:
                continue
            at = f"{path}.{index}" if several else path
            yield from (f"{at}.{problem}" for problem in plugins.check(kind, spec.name, spec.options))


def _plain(value: Any) -> Any:
    if isinstance(value, Plugin):
        return {"name": value.name, **value.options} if value.options else {"name": value.name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
