"""Shows a sweep to a person: a line per cell, a bar over the cells and one within each at work, and a closing table."""

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fedkd.app.sweep import PlannedCell
from fedkd.results.observer import Observer
from fedkd.results.records import Overview, RoundRecord, Summary
from fedkd.results.report.comparison import CONTROL, Group, in_order, measure
from fedkd.results.report.sweep_tables import CellResult, SweepResult

_MOST_BARS = 8
"""Of more cells at work than this not every one has a bar."""

_SHOWN = ("student", "teacher", "clients", "megabytes_up", "epsilon")
"""What the closing table shows beside the controls; the files have everything."""


class SweepConsole:
    """A sweep observer that prints with rich; on a terminal with bars, elsewhere plain lines.

    A context manager: leaving it removes the bars, whatever happened.
    """

    def __init__(self, rich: RichConsole | None = None) -> None:
        self._rich = rich or RichConsole(highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._rich,
            transient=True,
            disable=not self._rich.is_terminal or self._rich.is_dumb_terminal,
        )
        self._cells = TaskID(0)
        self._count = self._ended = 0
        self._at_work: dict[str, _CellWatch] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bars, if they are shown."""
        self._bars.stop()

    def began(self, cells: int, finished: int) -> None:
        """Print how much there is to do."""
        self._count = cells
        before = f", {finished} of them finished before" if finished else ""
        self._rich.print(f"{_cells(cells)}{before}", markup=False)
        self._cells = self._bars.add_task("cells", total=cells)
        self._bars.start()

    def cell_began(self, name: str) -> Observer:
        """Show the cell's name and, as they come, its round and stage."""
        watch = _CellWatch(self._bars, name, visible=len(self._at_work) < _MOST_BARS)
        self._at_work[name] = watch
        return watch

    def cell_ended(self, result: CellResult) -> None:
        """Print the cell's line."""
        self._ended += 1
        index = f"{self._ended:{len(str(self._count))}}/{self._count}"
        watch = self._at_work.pop(result.cell.name, None)
        spent = "finished before" if watch is None else f"{watch.end():.0f} s"
        self._rich.print(f"{index}  {result.cell.name}  {self._reply(result, spent)}", markup=False, soft_wrap=True)
        self._bars.update(self._cells, completed=self._ended)

    def _reply(self, result: CellResult, spent: str) -> str:
        if result.error is not None:
            return f"failed: {result.error.splitlines()[0]}"
        summary = None if result.log is None else result.log.summary
        share = None if summary is None else summary["student_accuracy"]
        return spent if share is None else f"student {100 * share:.1f}%, {spent}"

    def planned(self, cells: Sequence[PlannedCell]) -> None:
        """Print the cells of a sweep that is not run."""
        for index, each in enumerate(cells, start=1):
            self._rich.print(
                f"{index}/{len(cells)}  {each.folder}{'  finished' if each.finished else ''}",
                markup=False,
                soft_wrap=True,
            )

    def finished(self, result: SweepResult) -> None:
        """Print the means, and the cells that failed."""
        self.close()
        self._rich.print()
        self._rich.print("Mean and 95 % confidence interval over seeds, accuracies in %", style="bold")
        for line in _lines(result, self._rich.width if self._rich.is_terminal else None):
            self._rich.print(line, markup=False, soft_wrap=True)
        for each in result.failed:
            self._rich.print(f"\n{each.cell.name} failed: {each.error}", style="red", markup=False, soft_wrap=True)


class _CellWatch:
    """Shows where a cell is in a bar of its own."""

    def __init__(self, bars: Progress, name: str, *, visible: bool) -> None:
        self._bars, self._name = bars, name
        self._task = bars.add_task("", total=None, visible=visible)
        self._round, self._rounds = 1, 0
        self._begun = time.monotonic()
        self.progress("preparing", 0, 0)

    def end(self) -> float:
        """Remove the bar; returns the seconds that the cell has taken."""
        self._bars.remove_task(self._task)
        return time.monotonic() - self._begun

    def started(self, overview: Overview) -> None:
        self._rounds = overview.rounds
        self.progress("starting the engine", 0, 0)

    def noticed(self, text: str) -> None: ...

    def progress(self, stage: str, done: int, total: int) -> None:
        where = f" round {self._round} of {self._rounds}," if self._round <= self._rounds else ""
        self._bars.update(
            self._task,
            description=f"{self._name}:{where} {stage}",
            completed=done,
            total=total or None,
        )

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        self._round = record.round + 1

    def control_ended(self, name: str, accuracy: float) -> None: ...

    def finished(self, summary: Summary, overview: Overview) -> None: ...


def _lines(result: SweepResult, width: int | None) -> list[str]:
    """The table of means in lines, with as many measures from the left as fit into ``width`` (None: all)."""
    groups = [group for _, group in result.groups]
    labels = [group.name if group.values else "" for group in groups]
    columns = [("", labels), ("seeds", [str(len(group.runs)) for group in groups])]
    for name in _columns(groups):
        columns.append((measure(name).title, [group.cell(name).text for group in groups]))
    lines = [""] * (1 + len(groups))
    for index, (title, cells) in enumerate(columns):
        widest = max(map(len, (title, *cells)))
        if index > 0 and width is not None and len(lines[0]) + 2 + widest > width:
            break
        aligned = [text.rjust(widest) if index else text.ljust(widest) for text in (title, *cells)]
        lines = [f"{line}{'  ' if index else ''}{text}" for line, text in zip(lines, aligned, strict=True)]
    return lines


def _columns(groups: Iterable[Group]) -> list[str]:
    found = in_order(name for group in groups for name in group.measures)
    if "student" in found:
        found = [name for name in found if name != "clients"]
    controls = [name for name in found if name.startswith(CONTROL)]
    own = [name for name in found if name in _SHOWN]
    return [*own[:1], *controls, *own[1:]]


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"
