"""What a text or a value means, read independently of fedkd: YAML 1.2's core schema over the bare structure."""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL, _HEX = re.compile(r"0o[0-7]+"), re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE, _NAN = re.compile(r"[-+]?\.(inf|Inf|INF)"), re.compile(r"\.(nan|NaN|NAN)")
_DEPTH = 100
_DIGITS = 4000
"""Python writes and reads whole numbers with up to 4,300 digits."""


class UnreadableError(ValueError):
    """A text that means nothing, and must be refused."""


def read(text: str) -> Any:
    """The value that a YAML text stands for; raises ``UnreadableError`` for what must not be accepted."""
    try:
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    return None if node is None else _value(node, ())


def scalar(text: str) -> Any:
    """What a plain scalar stands for."""
    match text:
        case "" | "~" | "null" | "Null" | "NULL":
            return None
        case "true" | "True" | "TRUE":
            return True
        case "false" | "False" | "FALSE":
            return False
    if _INT.fullmatch(text):
        if len(text) > _DIGITS:
            raise UnreadableError("too many digits")
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    return math.nan if _NAN.fullmatch(text) else text


def _value(node: yaml.Node, above: tuple[yaml.Node, ...]) -> Any:
    if node in above:
        raise UnreadableError("a value that holds itself")
    if len(above) > _DEPTH:
        raise UnreadableError("nested too deeply")
    below = (*above, node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, below) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        pairs = [(_value(key, below), _value(item, below)) for key, item in node.value]
        try:
            found = dict(pairs)
        except TypeError as error:
            raise UnreadableError("a key that is no scalar") from error
        if len(found) != len(pairs):
            raise UnreadableError("a key twice")
        return found
    return scalar(node.value) if isinstance(node, yaml.ScalarNode) and node.style is None else node.value


def means(given: Any, resolved: Any) -> bool:
    """Whether a resolved value is what the given one says, short forms and spelt-out defaults allowed for."""
    if isinstance(resolved, Mapping):
        return _means_section(given, resolved)
    if isinstance(resolved, list | tuple):
        return _is_list(given) and len(given) == len(resolved) and all(map(means, given, resolved))
    if isinstance(given, str) and not isinstance(resolved, str):
        return _means_spelling(given, resolved)
    if isinstance(given, bool) or isinstance(resolved, bool) or given is None or resolved is None:
        return given is resolved
    if isinstance(given, int | float) and isinstance(resolved, int | float):
        return math.isfinite(resolved) and (given == resolved or _rounded(given, resolved))
    return type(given) is type(resolved) and bool(given == resolved)


def _means_section(given: Any, resolved: Mapping[str, Any]) -> bool:
    if isinstance(given, Mapping):
        return all(key in resolved and means(item, resolved[key]) for key, item in given.items())
    if isinstance(given, str) and means(given, resolved.get("name")):
        return True
    # A number will do for a constant temperature.
    return resolved.get("name") == "constant" and means(given, resolved.get("value"))


def _rounded(given: float, resolved: float) -> bool:
    """Whether a whole number is kept as the next of those that have decimals."""
    return isinstance(resolved, float) and abs(given) <= sys.float_info.max and float(given) == resolved


def _means_spelling(given: str, resolved: Any) -> bool:
    """Text where a number, a truth value or nothing is meant, as in an environment variable."""
    if isinstance(resolved, bool):
        return given.strip().lower() in (
            {"true", "yes", "on", "1", "y", "t"} if resolved else {"false", "no", "off", "0", "n", "f"}
        )
    if resolved is None:
        return False
    try:
        return float(given) == float(resolved) and math.isfinite(resolved)
    except (ValueError, OverflowError):
        return False


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
