"""Words that messages share: values and names as they are shown, and what somebody may have meant."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

_LONGEST = 120
"""Characters of a value or a name in a message."""

_REMEDIES = {
    "missing": "add it",
    "bool_type": "write true or false",
    "int_type": "write a whole number",
    "float_type": "write a number",
    "finite_number": "write a number",
    "string_type": "put it in quotes if it is text",
}


def cut(text: str) -> str:
    """A name or a text of unknown origin, of one line, printable and not too long."""
    clean = text if text.isprintable() else repr(text)[1:-1]
    return clean if len(clean) <= _LONGEST else f"{clean[: _LONGEST - 1]}…"


def shown(value: Any) -> str:
    """A value as it is shown in a message."""
    return cut(repr(value))


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` comes closest to, whatever its case; None when it is like none."""
    lowered = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    return lowered[close[0]] if close else None


def explain(path: str, fault: Mapping[str, Any], see: str) -> str:
    """What pydantic says of the value at ``path``, with the value and what to do: ``see``, where nothing is better."""
    message = fault["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    given = "" if fault["type"] == "missing" else f", got {shown(fault['input'])}"
    return f"{path}: {message}{given}; {_remedy(path, fault) or see}"


def _remedy(path: str, fault: Mapping[str, Any]) -> str | None:
    given = fault["input"]
    if fault["type"] == "literal_error" and isinstance(given, str):
        close = nearest(given, fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", "))
        return None if close is None else f"did you mean {close!r}?"
    if fault["type"] in {"tuple_type", "list_type"} and isinstance(given, str):
        return f"write a list: {path}=[{cut(given)}]"
    return _REMEDIES.get(fault["type"])
