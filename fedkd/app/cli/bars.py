"""What shows how far a stage is: a line on a terminal, an element in a notebook."""

import time
from html import escape
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_SECONDS = 0.1
"""Between two pictures of a bar, which a notebook is sent as messages."""


class Bar(Protocol):
    """Shows one stage after the other; ``total`` 0 means that the end is not known."""

    def show(self, stage: str, done: int, total: int) -> None: ...

    def remove(self) -> None: ...


class NoBar:
    """For files, pipes and CI."""

    def show(self, stage: str, done: int, total: int) -> None: ...

    def remove(self) -> None: ...


class TerminalBar:
    """A line that leaves nothing behind."""

    def __init__(self, rich: RichConsole) -> None:
        self._rich = rich
        self._progress: Progress | None = None
        self._stage = ""

    def show(self, stage: str, done: int, total: int) -> None:
        if self._progress is None or stage != self._stage:
            self.remove()
            self._stage = stage
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._rich,
                transient=True,
                # While the engine starts, workers are forked from this process, which must have no other thread then.
                auto_refresh=total > 0,
            )
            self._progress.add_task(stage, total=total or None)
            self._progress.start()
            self._progress.refresh()
        (task,) = self._progress.task_ids
        self._progress.update(task, completed=done, total=total or None)

    def remove(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = None


class NotebookBar:
    """One element for all stages, empty between them. Rich's own bar would want ipywidgets, and stay where it is."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = ("", 0.0)

    def show(self, stage: str, done: int, total: int) -> None:
        last, when = self._shown
        if stage == last and time.monotonic() - when < _SECONDS:
            return
        self._shown = (stage, time.monotonic())
        share = f'value="{done}" max="{total}"' if total else ""
        self._put(f"<progress {share}></progress> {escape(stage)}" + (f" {done}/{total}" if total else ""))

    def remove(self) -> None:
        self._shown = ("", 0.0)
        if self._handle is not None:
            self._put("")

    def _put(self, html: str) -> None:
        from IPython.display import display

        content = {"text/html": html, "text/plain": ""}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def bar_for(rich: RichConsole) -> Bar:
    """What suits the place that is printed to."""
    if rich.is_jupyter:
        return NotebookBar()
    return TerminalBar(rich) if rich.is_terminal and not rich.is_dumb_terminal else NoBar()
