"""Trackers that users might write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkd import Point, TrackedRun, Tracker


@dataclass
class Failing(Tracker):
    """Fails when it is called in one way."""

    at: str

    def begin(self, run: TrackedRun) -> None:
        self._called("begin")

    def curves(self, points: Sequence[Point]) -> None:
        self._called("curves")

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._called("table")

    def figure(self, name: str, png: Path) -> None:
        self._called("figure")

    def end(self, *, finished: bool) -> None:
        self._called("end")

    def _called(self, how: str) -> None:
        if how == self.at:
            raise SystemExit(1) if how == "table" else OSError(28, "No space left on device")
