"""Changes to a configuration: ``key.path=value``, in whatever order they are given."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fedkd.config.plugin_sections import PLUGIN_PATHS, SEVERAL
from fedkd.config.strict_yaml import NOTHING, YamlError, parse_yaml
from fedkd.config.values import spelt_out
from fedkd.core.errors import ConfigError
from fedkd.core.wording import shown

_COMMENT = re.compile(r"(^|\s)#")


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """The changes by path; raises ``ConfigError`` with every fault, such as one value that is set twice."""
    if isinstance(texts, str):
        raise ConfigError([f"overrides: must be a list of key.path=value, got {shown(texts)}; put it in brackets"])
    changes: dict[str, Any] = {}
    problems: list[str] = []
    for text in texts:
        try:
            path, value = _parse(text)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        if path in changes:
            problems.append(f"{path}: is set twice, to {shown(changes[path])} and {shown(value)}; keep one of the two")
        changes[path] = value
    problems.extend(_contradictions(changes))
    if problems:
        raise ConfigError(problems)
    return changes


def parse_value(text: str) -> Any:
    """A value as it stands on a command line, which is YAML; raises ``YamlError``."""
    if _COMMENT.search(text) and text.lstrip()[:1] not in {"'", '"'}:
        raise YamlError("# begins a comment, which has no place here; put the value in quotes within the argument")
    if (value := parse_yaml(text)) is None and text.strip() not in NOTHING:
        raise YamlError("there is no value; write null to unset the key")
    return value


def check_path(path: str) -> str:
    """The path itself; raises ``ConfigError`` for one that is no key of a configuration, written with dots."""
    if not path.isprintable() or not all(part and part == part.strip() for part in path.split(".")):
        raise ConfigError([f"{shown(path)}: a key is written with dots between names, for example clients.count"])
    return path


def put(raw: dict[str, Any], changes: Mapping[str, Any]) -> list[str]:
    """Change nested mappings in place, and say what could not be: sections come before what is in them, names first.

    Another plug-in brings none of the options of the one before along, and gets those that are given beside its name.
    """
    problems: list[str] = []
    for path in sorted(changes, key=lambda key: (key.count("."), not key.endswith(".name"))):
        try:
            _put(raw, path, changes[path])
        except ConfigError as error:
            problems.extend(error.problems)
    return problems


def _parse(override: str) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError([f"{shown(override)}: an override is written key.path=value, for example clients.count=20"])
    check_path(path)
    if not text.strip():
        raise ConfigError(
            [f"{path}: has no value, got {shown(override)}; write null to unset the key, or '\"\"' for no text"]
        )
    try:
        return path, parse_value(text)
    except YamlError as error:
        raise ConfigError(
            [f"{path}: {shown(text)} is not valid YAML ({error}); a text can be put in quotes within it"]
        ) from error


def _contradictions(changes: Mapping[str, Any]) -> Iterator[str]:
    """What two changes set to two values, one of them by its section."""
    for path, value in changes.items():
        for leaf, content in _leaves(path, value):
            for other in changes:
                if other != path and (other == leaf or other.startswith(f"{leaf}.")):
                    yield f"{other}: is set by {path} too, to {shown(content)}; keep one of the two"


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    value = spelt_out(path, value) if path in PLUGIN_PATHS - SEVERAL else value
    if not isinstance(value, dict):
        yield path, value
        return
    for key, item in value.items():
        yield from _leaves(f"{path}.{key}", item)


def _put(raw: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    plugin = last == "name" and ".".join(parents) in PLUGIN_PATHS
    section = raw
    walked: list[str] = []
    for part in parents:
        walked.append(part)
        below, at = section.get(part), ".".join(walked)
        if isinstance(below, list):
            raise ConfigError([f"{path}: {at} is a list, whose items have no keys; give it whole: {at}=[...]"])
        if at in PLUGIN_PATHS:
            below = spelt_out(at, below)
        section[part] = below = {} if below is None else below
        if not isinstance(below, dict):
            raise ConfigError([f"{path}: {at} is {shown(below)} and has no keys below it; set {at} itself"])
        section = below
    if plugin and section.get("name", value) != value:
        # Another plug-in brings none of this one's options along.
        section.clear()
    section[last] = value
