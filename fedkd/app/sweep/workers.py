"""Processes that run the cells of a sweep, each one at a time, and what they tell."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from fedkd.app.sweep.planning import PlannedCell, SideBySide
from fedkd.engines.ray.cluster import workers_environment
from fedkd.results.cache import Cache
from fedkd.results.observer import Observer
from fedkd.results.report.sweep_tables import CellResult

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Order:
    """What a worker is asked for: a cell, and how it is to be run."""

    planned: PlannedCell
    verbose: bool
    cache: tuple[str, int] | None


class Worker:
    """A process that runs cells until the connection to it is closed, and dies with the process that started it.

    It is not among the processes of the terminal's foreground, so that Ctrl-C reaches it through this one only.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.connection, theirs = Pipe()
        self.environment = environment
        # Neither the folder where the user works nor that of a script must hide what fedkd imports.
        command = [sys.executable, "-P", "-u", "-m", "fedkd.app.sweep.worker", str(theirs.fileno())]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **workers_environment(), **environment},
                start_new_session=True,
            )
        finally:
            theirs.close()
        self.last: PlannedCell | None = None

    def release(self) -> None:
        """Let it end when it has nothing to do."""
        self.connection.close()

    def stop(self, seconds: float) -> int:
        """Its status, once it has ended, by itself within so many seconds or not: what it has written is whole."""
        self.connection.close()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdin is not None:
                self._process.stdin.close()


class Workers:
    """Runs cells side by side; a context manager, which ends all processes on leaving."""

    def __init__(self, group: SideBySide, cache: Cache | None, *, verbose: bool) -> None:
        self._group, self._verbose = group, verbose
        self._cache = None if cache is None else (str(cache.folder), cache.most_bytes)
        self._idle: list[Worker] = []
        self._busy: dict[Connection, tuple[Worker, Observer]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._idle:
            worker.release()
        for worker, _ in self._busy.values():
            worker.stop(0)
        for worker in self._idle:
            worker.stop(STOP_SECONDS)

    def run(self, cell_began: Callable[[str], Observer]) -> Iterator[CellResult]:
        """The cells' results as they come; what ``cell_began`` makes of a cell's name is told how it does."""
        waiting = list(self._group.cells)
        free = list(self._group.environments)
        while waiting or self._busy:
            while waiting and (self._idle or free):
                worker = self._idle.pop() if self._idle else Worker(free.pop())
                each = _next_for(worker, waiting)
                waiting.remove(each)
                worker.last = each
                with suppress(OSError):  # of one that is dead, which shows below
                    worker.connection.send(Order(each, self._verbose, self._cache))
                self._busy[worker.connection] = worker, cell_began(each.cell.name)
            for connection in wait(list(self._busy)):
                assert isinstance(connection, Connection)
                worker, observer = self._busy[connection]
                try:
                    name, arguments = connection.recv()
                except (EOFError, OSError):
                    del self._busy[connection]
                    free.append(worker.environment)
                    yield _result(worker, _death(worker.stop(STOP_SECONDS)))
                    continue
                if name != ENDED:
                    getattr(observer, name)(*arguments)
                    continue
                del self._busy[connection]
                self._idle.append(worker)
                yield _result(worker, arguments)


ENDED = "ended"
"""What a worker says last of a cell, with the error if there was one; before that, names of an observer's methods."""


def _next_for(worker: Worker, waiting: Sequence[PlannedCell]) -> PlannedCell:
    """The next cell with the data that the worker has at hand, if there is one, else the first."""
    last = worker.last
    return next((each for each in waiting if last is not None and _data_of(each) == _data_of(last)), waiting[0])


def _data_of(each: PlannedCell) -> tuple[Any, ...]:
    config = each.cell.config
    return config.seed, config.clients.count, config.data


def _result(worker: Worker, error: str | None) -> CellResult:
    assert worker.last is not None
    return CellResult(worker.last.cell, worker.last.folder, done=error is None, error=error)


def _death(status: int) -> str:
    if status != -signal.SIGKILL:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"its process ended with {how}, and its output says why; the same command goes on with it"
    return (
        "its process was killed, perhaps by the system for want of memory; the same command goes on with it, fewer "
        "cells at a time with engine.workers=N"
    )
