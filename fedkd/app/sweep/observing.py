"""How a sweep tells the outside what it is doing."""

from typing import Protocol

from fedkd.results.observer import Observer, Silent
from fedkd.results.report.sweep_tables import CellResult


class SweepObserver(Protocol):
    """Receives the events of a sweep, in order, in the thread that runs it; several cells may be going on at once."""

    def began(self, cells: int, finished: int) -> None:
        """All configurations are sound; so many of the cells are finished already."""

    def cell_began(self, name: str) -> Observer:
        """A cell is about to run, or to go on; what is returned is told how it does."""
        ...

    def cell_ended(self, result: CellResult) -> None:
        """A cell has ended, one way or the other, or was finished before."""


class SilentSweep:
    """A sweep observer that ignores everything."""

    def began(self, cells: int, finished: int) -> None: ...

    def cell_began(self, name: str) -> Observer:
        return Silent()

    def cell_ended(self, result: CellResult) -> None: ...
