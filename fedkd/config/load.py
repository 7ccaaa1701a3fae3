"""From YAML, mappings and ``key.path=value`` overrides to an ``ExperimentConfig``, with every fault found at once."""

import dataclasses
import json
import numbers
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fedkd.config.constraints import broken_rules
from fedkd.config.describe import describe_keys, optional_section
from fedkd.config.overrides import parse_overrides, put
from fedkd.config.plugin_sections import ALONE, PLUGIN_PATHS, PLUGIN_SECTIONS, SEVERAL, plugin_at
from fedkd.config.schema import ExperimentConfig
from fedkd.config.shipped import config_names, config_path
from fedkd.config.strict_yaml import DEEPEST, LARGEST, YamlDocument, YamlError, is_key, read_document
from fedkd.config.values import Plugin, as_list, spelt_out
from fedkd.core import plugins
from fedkd.core.errors import ConfigError
from fedkd.core.files import is_file
from fedkd.core.wording import cut, explain, nearest, shown

FLOWER_APP = {"app": "LogitDistillation"}
"""What the ``config.yaml`` of a run in a Flower app of the user's own begins with."""

_SEE = "see `fedkd run --help` for what it takes"


@dataclasses.dataclass
class _Source:
    """Nested mappings, and where each key stands by its dotted path, as it is told."""

    content: dict[str, Any]
    places: dict[str, str] = dataclasses.field(default_factory=dict)

    def forget(self, path: str) -> None:
        """The value at ``path`` is another one now."""
        for key in [key for key in self.places if f"{key}.".startswith(f"{path}.")]:
            del self.places[key]
        self.places[path] = ""

    def placed(self, problem: str) -> str:
        """A problem, with the file and the line of its key or of the nearest section that is there."""
        parts = problem.partition(":")[0].split(".")
        paths = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        place = next((self.places[path] for path in paths if path in self.places), "")
        return f"{problem} ({place})" if place else problem


def load_config(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, values: Mapping[str, Any] | None = None
) -> ExperimentConfig:
    """The experiment described by a YAML file or a mapping, changed by ``key.path=value`` overrides.

    A file is given by its path, or is a shipped one: ``quickstart``, ``configs/quickstart.yaml``.

    ``values``, by dotted path, are changes that need no parsing; they come before the overrides. The order of changes
    makes no difference.

    ``extends: name`` at the top of a file names another one (relative to it, or a shipped one) whose keys hold wherever
    this one does not say otherwise. A plug-in under another name brings none of the other's options along.

    Raises ``ConfigError`` with every fault: unreadable YAML, unknown keys (with the nearest right one), wrong types,
    values out of range, unknown plug-ins, bad options, and sections that contradict each other.
    """
    if isinstance(source, str | Path):
        read = _read_extended(config_path(source))
    elif isinstance(source, Mapping):
        read = _Source(_plain_mapping(source))
    else:
        raise ConfigError([f"config: must be a file, a name or a mapping, got {shown(source)}; name a YAML file"])
    problems = []
    for changes in (_plain_mapping(values or {}), parse_overrides(overrides)):
        problems += put(read.content, changes)
        for path in changes:
            read.forget(path)
    _name_defaults(read.content)
    try:
        config = parse_config(read.content)
    except ConfigError as error:
        raise ConfigError([*problems, *map(read.placed, error.problems)]) from None
    if problems:
        raise ConfigError(problems)
    return config


def parse_config(raw: Mapping[str, Any]) -> ExperimentConfig:
    """The experiment described by nested mappings, whose values are those of JSON; raises ``ConfigError``.

    A number stays a number and a text a text: ``"5"``, ``5.0`` and ``true`` are no whole numbers.
    """
    if (elsewhere := app_fault(raw)) is not None:
        raise ConfigError([elsewhere])
    content = _plain_mapping(raw)
    problems = [*_unknown_keys(content, ExperimentConfig, ""), *_settle_plugins(content)]
    config: ExperimentConfig | None = None
    try:
        config = _schema().validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        for fault in error.errors():
            path = ".".join(cut(str(part)) for part in fault["loc"] if part != "function-before[_as_plugin(), Plugin]")
            problems.append(explain(path, fault, _SEE))
    if config is not None:
        problems.extend(broken_rules(config))
    if problems or config is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    return config


def app_fault(raw: Mapping[str, Any]) -> str | None:
    """Why what the strategy of a Flower app was told is no experiment; None for anything else."""
    if all(raw.get(key) == value for key, value in FLOWER_APP.items()):
        return (
            "app: this is what LogitDistillation was told in a Flower app, whose clients and data are its own; start "
            "that app for another run (fedkd report and fedkd compare read this one)"
        )
    return None


@cache
def _schema() -> TypeAdapter[ExperimentConfig]:
    return TypeAdapter(ExperimentConfig)


def to_mapping(config: ExperimentConfig) -> dict[str, Any]:
    """The config as plain nested mappings, ready for YAML; ``parse_config`` reads it back."""
    mapping: dict[str, Any] = _plain(config)
    return mapping


def to_json(config: ExperimentConfig) -> str:
    """The config as canonical JSON: equal configs give equal strings."""
    return json.dumps(to_mapping(config), sort_keys=True)


def _read_extended(path: Path, seen: tuple[Path, ...] = ()) -> _Source:
    document = read_yaml(path)
    raw = document.content
    found = _Source(raw, {key: f"{path.name}, line {line}" for key, line in document.lines.items()})
    raw.pop("reference", None)  # the published result that a reproduction is compared with, no part of the experiment
    if (name := raw.pop("extends", None)) is None:
        return found
    if not isinstance(name, str):
        raise ConfigError([f"extends: must be the name of a YAML file, got {name!r}; write one, such as fashion_mnist"])
    beside = path.parent / name
    base = beside if is_file(beside) else config_path(name)
    seen = (*seen, path.resolve())
    if is_file(base) and base.resolve() in seen:
        raise ConfigError(
            [f"extends: {cut(name)} leads back to itself, by way of {path}; extend a file that stands alone"]
        )
    below = _read_extended(base, seen)
    return _Source(_merge(below.content, raw, ""), below.places | found.places)


def _merge(base: dict[str, Any], changes: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        before, path = base.get(key), f"{prefix}{key}"
        if path in PLUGIN_PATHS:
            before, value = spelt_out(path, before), spelt_out(path, value)
        merged[key] = value
        if isinstance(before, dict) and isinstance(value, dict):
            other = path in PLUGIN_PATHS and value.get("name", before.get("name")) != before.get("name")
            merged[key] = value if other else _merge(before, value, f"{path}.")
    return merged


def read_yaml(path: Path) -> YamlDocument:
    """The keys and values at the top of a YAML file, as they stand; raises ``ConfigError`` when there are none."""
    file = cut(str(path))
    try:
        document = read_document(path)
    except FileNotFoundError:
        close = nearest(str(path.with_suffix("")), config_names())
        hint = "a shipped name such as quickstart" if close is None else f"a shipped name; did you mean {close!r}?"
        raise ConfigError([f"{file}: no such file; give a YAML file or {hint}"]) from None
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read ({error.strerror or error}); name a file of YAML"]) from error
    except YamlError as error:
        raise ConfigError(
            [f"{file}: is not valid YAML ({problem}); correct the file" for problem in error.problems]
        ) from error
    if document.content is None:
        document.content = {}
    if not isinstance(document.content, dict):
        kind = type(document.content).__name__
        raise ConfigError([f"{file}: must hold keys and values at the top, got {kind}; write some, such as rounds: 3"])
    return document


def _plain_mapping(given: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that has nothing in it but what JSON and YAML have, too; raises ``ConfigError`` for what has no place."""
    problems: list[str] = []
    plain = {
        str(key): _plain_value(value, cut(str(key)), problems)
        for key, value in given.items()
        if _key(key, "", problems)
    }
    if problems:
        raise ConfigError(problems)
    return plain


def _plain_value(value: Any, path: str, problems: list[str]) -> Any:
    if path.count(".") > DEEPEST + 5:
        problems.append(f"{path}: is nested more than {DEEPEST} levels deep; write it flatter")
    elif value is None or isinstance(value, bool):
        return value
    elif isinstance(value, str):
        if value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value):
            return value
        problems.append(f"{path}: must be text of Unicode, got {shown(value)}; give it in UTF-8")
    elif isinstance(value, numbers.Integral):
        if abs(int(value)) < LARGEST:
            return int(value)
        problems.append(f"{path}: must be a whole number of 64 bits, got {shown(value)}; write a smaller one")
    elif isinstance(value, numbers.Real):
        return float(value)
    elif isinstance(value, Mapping):
        return {
            key: _plain_value(item, f"{path}.{cut(key)}", problems)
            for key, item in value.items()
            if _key(key, f"{path}.", problems)
        }
    elif isinstance(value, list | tuple):
        return [_plain_value(item, f"{path}.{index}", problems) for index, item in enumerate(value)]
    else:
        problems.append(
            f"{path}: must be text, a number, true, false, null, a list or a mapping, got {shown(value)}; convert it"
        )
    return None


def _key(key: Any, prefix: str, problems: list[str]) -> bool:
    if is_key(key):
        return True
    problems.append(f"{prefix}{cut(str(key))}: a key must be a name, got {shown(key)}; quote it if it is meant")
    return False


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
            yield f"{cut(path)}: unknown key, got {shown(value)}; {_right_key(key, list(hints))}"
        elif dataclasses.is_dataclass(section := hints[key]) and section is not Plugin and isinstance(value, Mapping):
            yield from _unknown_keys(value, section, f"{path}.")  # type: ignore[arg-type]
        elif (optional := optional_section(section)) is not None and isinstance(value, Mapping):
            yield from _unknown_keys(value, optional, f"{path}.")
        elif get_origin(section) is dict and isinstance(value, Mapping):
            for name, item in value.items():
                if isinstance(item, Mapping):
                    yield from _unknown_keys(item, get_args(section)[1], f"{path}.{name}.")


def _right_key(key: str, here: list[str]) -> str:
    """What an unknown key may have been meant for: one of those here, or one of that name in another section."""
    if (close := nearest(key, here)) is not None:
        return f"did you mean {close!r}?"
    elsewhere = {path.rpartition(".")[2]: path for path in reversed([doc.path for doc in describe_keys()])}
    if (close := nearest(key, elsewhere)) is not None:
        return f"did you mean {elsewhere[close]!r}?"
    return f"the keys here are {', '.join(here)}"


def _settle_plugins(content: dict[str, Any]) -> Iterator[str]:
    """Give the options of all plug-ins the types that their classes say, in place, and tell what is wrong with them.

    Here, so that a fault elsewhere does not hide theirs; what names no plug-in at all is left to the schema.
    """
    for path, kind in PLUGIN_SECTIONS:
        *parents, last = path.split(".")
        section: Any = content
        for part in parents:
            section = section.get(part) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            continue
        if path in ALONE:
            section[last] = as_list(section[last])
        if isinstance(section[last], list) != (path in SEVERAL):
            continue
        if path not in SEVERAL:
            section[last], problems = _settled(kind, path, section[last])
            yield from problems
            continue
        for index, item in enumerate(section[last]):
            section[last][index], problems = _settled(kind, f"{path}.{index}", item)
            yield from problems


def _settled(kind: plugins.PluginKind, path: str, value: Any) -> tuple[Any, list[str]]:
    spec = spelt_out(path, value)
    if not isinstance(spec, dict) or not isinstance(name := spec.get("name"), str):
        return value, []
    given = {key: item for key, item in spec.items() if key != "name"}
    problems, options = plugins.read_options(kind, name, given)
    return {"name": name, **options}, [f"{path}.{problem}" for problem in problems]


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
