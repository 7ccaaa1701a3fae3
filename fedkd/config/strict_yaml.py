"""YAML 1.2 as configurations are written in: its core schema alone, read strictly and within bounds.

PyYAML reads YAML 1.1, where ``yes`` is true, ``010`` is 8, ``1:30`` is 90 and ``1e-3`` is text, and where the second of
two equal keys wins. Of PyYAML only the parser is used here; what its events stand for is decided in this file.
"""

import copy
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fedkd.core.wording import cut, shown

LONGEST_TEXT = 100_000
"""Characters; a configuration that sets every key has five thousand."""
DEEPEST = 20
"""Levels of nesting; the schema has five, and options of plug-ins are lists of lists at most."""
MOST_VALUES = 20_000
"""Values, aliases counted as what they stand for."""
LONGEST_KEY = 200
LARGEST = 2**63
"""A whole number is smaller, and so is what it is below zero: 64 bits hold it."""
_MOST_DIGITS = 100

NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH = {word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_OTHER_BASE = {re.compile(r"0o[0-7]+"): 8, re.compile(r"0x[0-9a-fA-F]+"): 16}
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NOT_A_NUMBER = re.compile(r"\.(nan|NaN|NAN)")


class YamlError(ValueError):
    """A text that is not read; ``problems`` holds a message for each reason, with its line."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass
class YamlDocument:
    """What a text holds, and the line of every key and list item by its dotted path."""

    content: Any = None
    lines: dict[str, int] = field(default_factory=dict)


def parse_yaml(text: str) -> Any:
    """What a YAML text stands for, None if there is nothing in it; raises ``YamlError``."""
    return parse_document(text).content


def parse_document(text: str) -> YamlDocument:
    """The same, with the lines of its keys."""
    if len(text) > LONGEST_TEXT:
        raise YamlError(f"has {len(text):,} characters; the most that is read is {LONGEST_TEXT:,}")
    reader = _Reader(text)
    try:
        reader.read()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"line {line}: the character #x{error.character:04x} may not stand in YAML") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = "" if mark is None else f"line {mark.line + 1}: "
        raise YamlError(where + " ".join(f"{error.context or ''} {error.problem or ''}".split())) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets through what Python says to an escape such as \UFFFFFFFF.
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"line {reader.line}: {error}") from error
    if reader.problems:
        raise YamlError(*reader.problems)
    return reader.document


def read_document(path: Path) -> YamlDocument:
    """The document in a UTF-8 file; raises ``YamlError`` and ``OSError``."""
    try:
        with path.open("rb") as file:
            # Never more than is needed to see that it is too much, whatever kind of file it is.
            content = file.read(4 * LONGEST_TEXT + 1)
        if len(content) > 4 * LONGEST_TEXT:
            raise YamlError(f"has more than {len(content) - 1:,} bytes; the most characters read are {LONGEST_TEXT:,}")
        return parse_document(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlError(f"line {line}: the byte #x{content[error.start]:02x} is not UTF-8; save it as UTF-8") from error
    except YamlError:
        raise
    except ValueError as error:
        # A path with a NUL character.
        raise OSError(str(error)) from error


def is_key(key: Any) -> bool:
    """Whether something can be the key of a mapping: a text of one line, and no longer than a name may be."""
    return isinstance(key, str) and key.isprintable() and len(key) <= LONGEST_KEY


def dump_yaml(content: Any) -> str:
    """A text that ``parse_yaml`` reads as ``content``, in the order of its keys."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)


@dataclass(frozen=True)
class _Anchored:
    """What an anchor names, how many values that is, and how many levels."""

    value: Any
    size: int
    height: int


class _Reader:
    """One text, from its parser's events."""

    def __init__(self, text: str) -> None:
        self.document = YamlDocument()
        self.problems: list[str] = []
        self.line = 1
        self._text = text
        self._anchors: dict[str, _Anchored] = {}
        self._values = 0

    def read(self) -> None:
        """Fill ``document`` and ``problems``; raises what the parser does, and ``YamlError`` for what is too much."""
        self._events: Iterator[Any] = yaml.parse(self._text, Loader=yaml.SafeLoader)
        self._next()
        if isinstance(start := self._next(), yaml.StreamEndEvent):
            return
        if isinstance(start, yaml.DocumentStartEvent) and start.version not in {None, (1, 2)}:
            self._refuse("YAML is read as version 1.2; remove the %YAML line")
        self.document.content, _ = self._value(self._next(), "", 0)
        self._next()
        if not isinstance(self._next(), yaml.StreamEndEvent):
            raise YamlError(*self.problems, f"line {self.line}: a second document begins; keep one")

    def _next(self) -> Any:
        event = next(self._events)
        self.line = event.start_mark.line + 1
        return event

    def _refuse(self, problem: str) -> None:
        self.problems.append(f"line {self.line}: {problem}")

    def _count(self, values: int, depth: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise YamlError(f"line {self.line}: more than {MOST_VALUES:,} values, aliases counted as what they repeat")
        if depth > DEEPEST:
            raise YamlError(f"line {self.line}: more than {DEEPEST} levels of nesting")

    def _value(self, event: Any, path: str, depth: int) -> tuple[Any, int]:
        """The value that an event begins, and the levels below it."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._count(1, depth)
        before = self._values
        if event.tag is not None:
            self._refuse(f"tags such as {event.tag} are not read; quote a text, write a number without a tag")
        value: Any
        height = 0
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value, height = self._sequence(path, depth)
        else:
            value, height = self._mapping(path, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, self._values - before + 1, height)
        return value, height

    def _alias(self, event: Any, depth: int) -> tuple[Any, int]:
        if (found := self._anchors.get(event.anchor)) is None:
            raise YamlError(*self.problems, f"line {self.line}: *{event.anchor} repeats nothing that ends before it")
        self._count(found.size, depth + found.height)
        return copy.deepcopy(found.value), found.height

    def _sequence(self, path: str, depth: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        height = 0
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            below = f"{path}.{len(items)}"
            self.document.lines[below] = self.line
            item, levels = self._value(event, below, depth + 1)
            items.append(item)
            height = max(height, levels + 1)
        return items, height

    def _mapping(self, path: str, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        height = 0
        first: dict[str, int] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line = self.line
            key, _ = self._value(event, path, depth + 1)
            if not is_key(key):
                key = shown(key)
                self._refuse(f"a key must be a name, got {key}; quote it if it is meant")
            below = f"{path}.{key}" if path else key
            if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
                self._refuse("<< merges keys in YAML 1.1 only; write them out, or name another file with extends")
            if key in first:
                self._refuse(f"{below} is given a second time, first in line {first[key]}; keep one of the two")
            first.setdefault(key, line)
            self.document.lines.setdefault(below, line)
            found[key], levels = self._value(self._next(), below, depth + 1)
            height = max(height, levels + 1)
        return found, height

    def _scalar(self, event: Any) -> Any:
        text = event.value
        try:
            text.encode()
        except UnicodeEncodeError:
            self._refuse("half of a surrogate pair is no character; write the character itself")
        # A scalar without quotes may be more than text.
        return self._plain(text) if event.implicit[0] else text

    def _plain(self, text: str) -> Any:
        if text in NOTHING:
            return None
        if text in _TRUTH:
            return _TRUTH[text]
        if _WHOLE.fullmatch(text):
            digits = text.lstrip("+-")
            if len(digits) > 1 and digits[0] == "0":
                self._refuse(
                    f"{cut(text)} begins with a zero, which means an octal number to some; write "
                    f"{cut(digits.lstrip('0')) or '0'}, or quote it if it is text"
                )
            return self._whole(text, digits, 10)
        for pattern, base in _OTHER_BASE.items():
            if pattern.fullmatch(text):
                return self._whole(text, text[2:], base)
        if _NUMBER.fullmatch(text):
            if math.isinf(number := float(text)):
                self._refuse(f"{cut(text)} is larger than any number of 64 bits; write a smaller one")
            return number
        if found := _INFINITE.fullmatch(text):
            return -math.inf if found[1] == "-" else math.inf
        return math.nan if _NOT_A_NUMBER.fullmatch(text) else text

    def _whole(self, text: str, digits: str, base: int) -> int:
        number = int(text, base) if len(digits) <= _MOST_DIGITS else LARGEST
        if abs(number) >= LARGEST:
            self._refuse(f"{cut(text)} is larger than a whole number of 64 bits; write a smaller one")
        return number


class _Dumper(yaml.SafeDumper):
    """Quotes what would be more than text in YAML 1.1, as PyYAML does by itself, or in 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # In any other style PyYAML loses some of the characters that end a line.
        return self.represent_scalar("tag:yaml.org,2002:str", data, None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile("|".join(f"(?:{pattern.pattern})" for pattern in (_WHOLE, *_OTHER_BASE)) + r"\Z"),
    list("-+0123456789"),
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_NUMBER.pattern + r"\Z"), list("-+.0123456789"))
