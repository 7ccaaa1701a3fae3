"""Tells the trackers of a run what happens, and the run nothing of what happens to them."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.faults import described
from fedkd.distillation.balanced_step import StepRow
from fedkd.results.directory import ControlResult
from fedkd.results.logs import STEP_COLUMNS
from fedkd.results.records import RoundRecord, Summary
from fedkd.results.report.figures import is_whole
from fedkd.results.tracker import Point, TrackedRun, Tracker

_PLACES = frozenset({"round", "step"})
"""What says where a number is, and is none."""


class Tracking:
    """Any number of trackers. One that fails in any way is left out from there, with a notice; no run ends of it.

    A context manager, which ends them whatever happened inside.
    """

    def __init__(self, wanted: Sequence[Plugin], notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._trackers: list[tuple[str, Tracker]] = []
        self._steps = 0
        self._begun = self._finished = False
        for spec in wanted:
            self._guarded(spec.name, partial(self._add, spec))

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            self._each(lambda tracker: tracker.end(finished=self._finished))

    def begin(self, folder: Path, config: Mapping[str, Any]) -> None:
        """The run in the folder goes on after the rounds that are in its logs."""
        self._begun = True
        if not self._trackers:
            return
        earlier: list[Point] = []
        for record, steps in _logged(folder):
            earlier += self._points(record, steps)

        def tell(tracker: Tracker) -> None:
            tracker.begin(TrackedRun(folder, config))
            tracker.curves(earlier)

        self._each(tell)

    def round_ended(self, record: RoundRecord, steps: Sequence[StepRow]) -> None:
        """A round is on disk, with these distillation steps."""
        if self._trackers:
            rows = (dict(zip(STEP_COLUMNS, asdict(step).values(), strict=True)) for step in steps)
            points = self._points(asdict(record), rows)
            self._each(lambda tracker: tracker.curves(points))

    def end(self, folder: Path, summary: Summary, controls: Mapping[str, ControlResult]) -> None:
        """The run is finished, and its figures are drawn."""
        self._finished = True
        if not self._trackers:
            return
        tables = {
            "summary": [{"key": key, "value": value} for key, value in _leaves(asdict(summary))],
            "controls": [{"control": name, "accuracy": control.history[-1]} for name, control in controls.items()],
            "clients": list(_clients(folder, summary.rounds)),
        }
        # One with a single number has it after the last round.
        histories = [
            Point(round, {f"control/{name}": share})
            for name, control in controls.items()
            for round, share in enumerate(control.history, start=1 + summary.rounds - len(control.history))
        ]
        pictures = [path for path in sorted((folder / "plots").glob("*.png")) if is_whole(path)]

        def tell(tracker: Tracker) -> None:
            tracker.curves(histories)
            for name, rows in tables.items():
                tracker.table(name, rows)
            for path in pictures:
                tracker.figure(path.stem, path)

        self._each(tell)

    def _add(self, spec: Plugin) -> None:
        self._trackers.append((spec.name, plugins.build(plugins.TRACKER, spec.name, spec.options)))

    def _points(self, record: Mapping[str, Any], steps: Iterable[Mapping[str, Any]]) -> list[Point]:
        """A round's points, those of its steps first, which are counted over all rounds."""
        points = [Point(index, _numbers("step", row)) for index, row in enumerate(steps, start=self._steps)]
        self._steps += len(points)
        return [*points, Point(record["round"], _numbers("round", record))]

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers):
            if not self._guarded(name, partial(tell, tracker)):
                self._trackers.remove((name, tracker))

    def _guarded(self, name: str, act: Callable[[], None]) -> bool:
        try:
            act()
        except (Exception, SystemExit) as error:
            self._notice(f"tracking: {name} failed and is left out from here; the run goes on ({described(error)})")
            return False
        return True


def _logged(folder: Path) -> Iterator[tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]]]:
    """The rounds in a run's logs, each with its steps."""
    from fedkd.results.report.run_log import read_steps

    log = read_steps(folder / "distillation.csv")
    starts = log.round_starts
    for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        first = starts.get(record["round"], log.length)
        after = min((start for start in starts.values() if start > first), default=log.length)
        yield record, ({name: column[row] for name, column in log.columns.items()} for row in range(first, after))


def _numbers(prefix: str, record: Mapping[str, Any]) -> dict[str, float]:
    """What a record has of numbers, in sections too, by name."""
    return {
        f"{prefix}/{key}": float(value)
        for key, value in _leaves(record)
        if key not in _PLACES and isinstance(value, int | float) and math.isfinite(value)
    }


def _leaves(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """What is known, by dotted path; but for lists, and what is true or false."""
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif value is not None and not isinstance(value, list | tuple | bool):
            yield f"{prefix}{key}", value


def _clients(folder: Path, round: int) -> Iterator[dict[str, Any]]:
    """What ``clients.csv`` has of a round."""
    with (folder / "clients.csv").open(encoding="utf-8", newline="") as file:
        yield from (row for row in csv.DictReader(file) if row["round"] == str(round))
