"""What every configuration key means, read off the schema."""

import dataclasses
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from fedkd.config.schema import ExperimentConfig
from fedkd.config.values import Plugin


@dataclasses.dataclass(frozen=True)
class KeyDoc:
    """One key: its dotted path, its default as text, and its meaning."""

    path: str
    default: str
    text: str


def describe_keys(cls: type = ExperimentConfig, prefix: str = "") -> Iterator[KeyDoc]:
    """Every key of the configuration in the schema's order."""
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        inner = _unwrap(hints[field.name])
        if dataclasses.is_dataclass(inner) and inner is not Plugin:
            yield from describe_keys(inner, f"{prefix}{field.name}.")  # type: ignore[arg-type]
            continue
        yield KeyDoc(prefix + field.name, _default(field), _text(hints[field.name]))
        if (optional := optional_section(inner)) is not None:
            yield from describe_keys(optional, f"{prefix}{field.name}.")


def optional_section(hint: Any) -> type | None:
    """The section that a key holds unless it is null; None for any other key."""
    inner = [part for part in get_args(hint) if part is not type(None)] if get_origin(hint) is UnionType else []
    sections = [part for part in inner if dataclasses.is_dataclass(part) and part is not Plugin]
    return sections[0] if len(sections) == 1 and isinstance(sections[0], type) else None


def _unwrap(hint: Any) -> Any:
    return _unwrap(get_args(hint)[0]) if get_origin(hint) is Annotated else hint


def _text(hint: Any) -> str:
    words = " ".join(
        item.description for item in get_args(hint)[1:] if isinstance(item, FieldInfo) and item.description
    )
    inner = _unwrap(hint)
    if get_origin(inner) is Literal and not any(str(value) in words for value in get_args(inner)):
        words += f" ({', '.join(map(str, get_args(inner)))})"
    return words


def _default(field: "dataclasses.Field[Any]") -> str:
    value: Any = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if isinstance(value, Plugin):
        return value.name
    if value is None:
        return "null"
    if value == {}:
        return "{}"
    if isinstance(value, tuple):
        return "[" + ", ".join(item.name if isinstance(item, Plugin) else str(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
