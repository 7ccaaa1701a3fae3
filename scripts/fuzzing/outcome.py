"""What a case is, and what can become of it."""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Verdict(enum.StrEnum):
    """What became of a case; the last three are faults."""

    accepted = enum.auto()
    refused = enum.auto()
    traceback = enum.auto()
    nonsense = enum.auto()
    hang = enum.auto()


FAULTS = (Verdict.traceback, Verdict.nonsense, Verdict.hang)


@dataclass(frozen=True)
class Outcome:
    """A verdict with its reason, which is empty where there is nothing to say."""

    verdict: Verdict
    reason: str = ""


ACCEPTED, REFUSED = Outcome(Verdict.accepted), Outcome(Verdict.refused)


class NonsenseError(Exception):
    """Something that a sound program would not have done; the message says what."""


class EscapedError(NonsenseError):
    """An error that nobody raised on purpose, though it was told without its traceback."""


@dataclass(frozen=True)
class Case:
    """One bad input: what it is in a few words, and how it is tried, in an empty folder of its own.

    ``attempt`` returns whether the input was accepted, and raises ``NonsenseError`` where the answer makes no sense.
    """

    title: str
    attempt: Callable[[Path], bool]


Family = Callable[[int, int], Case]
"""The case of a seed and a number; the same for the same two."""


def shortened(value: object, limit: int = 80) -> str:
    """A value on one line, in a few words."""
    try:
        text = ascii(value)
    except ValueError:
        # A whole number with more digits than Python writes.
        text = f"a {type(value).__name__} with very many digits"
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"
