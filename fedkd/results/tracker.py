"""What follows a run from outside: its curves, tables and figures in another program."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fedkd.core.errors import FedkdError


@dataclass(frozen=True)
class TrackedRun:
    """A run that is followed: its folder, and its resolved configuration as nested mappings."""

    folder: Path
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """Numbers by name at one place of their curves: ``round/…`` by round, from 1; ``step/…`` by step, from 0."""

    step: int
    values: Mapping[str, float]


class Tracker(ABC):
    """Is told of a run what is on disk already; options are a dataclass's fields.

    A run that goes on is begun again, and told again from its first round on, with the same numbers: ``begin`` starts
    the curves anew, or ``curves`` leaves out what is there. Whatever a method raises ends the tracker and not the run.
    Nothing is asked of it while workers are started, so it may have threads.
    """

    @abstractmethod
    def begin(self, run: TrackedRun) -> None:
        """The first call."""

    @abstractmethod
    def curves(self, points: Sequence[Point]) -> None:
        """A round's steps, then the round; a control's accuracy as ``control/NAME``."""

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """At the end: ``summary``, the result by key; ``controls``; ``clients``, those of the last round."""

    def figure(self, name: str, png: Path) -> None:
        """At the end: a figure of the run."""

    def end(self, *, finished: bool) -> None:
        """The last call, on any way out, of a tracker that has not failed."""


def require_extra(extra: str, *packages: str) -> None:
    """Raises ``FedkdError`` where packages of one of fedkd's extras are not installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise FedkdError(f"{', '.join(missing)} not installed; pip install 'fedkd[{extra}]'")
