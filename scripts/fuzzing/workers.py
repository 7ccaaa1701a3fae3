"""Processes that try cases, each watched for the time and the memory that it takes."""

import multiprocessing
import os
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from fuzzing.families import FAMILIES
from fuzzing.outcome import Outcome, Verdict
from fuzzing.trial import attempt, scratch, work_in

MEMORY = 6 * 2**30
"""Bytes that a process may hold; more is refused by the system, as on a machine that has no more."""

WALL_SECONDS = 150.0
"""Seconds after which a case is ended from outside: its own alarm is not heard in C code, nor by who sleeps."""
_LOOK = 0.5


@dataclass(frozen=True, order=True)
class Task:
    """A case by what brings it back."""

    family: str
    number: int
    seed: int


@dataclass(frozen=True)
class Finished:
    """A task, what its case was, and what came of it."""

    task: Task
    title: str
    outcome: Outcome


class _Worker:
    """One process, which is started anew when it has to be killed."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._context = multiprocessing.get_context("spawn")
        self.task: Task | None = None
        self._begun: float | None = None
        self._start()

    def _start(self) -> None:
        self.pipe, other = self._context.Pipe()
        self._process: BaseProcess = self._context.Process(target=_work, args=(other, self._folder), daemon=True)
        self._process.start()
        other.close()

    def give(self, task: Task) -> None:
        self.task, self._begun = task, None
        self.pipe.send(task)

    def take(self) -> Finished | None:
        """What came of the task, once the pipe has it or the process is gone; None where it has only begun."""
        task = self._given()
        try:
            finished: Finished | None = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            return self._anew(task, Verdict.traceback, f"the process ended with status {self._process.exitcode}")
        if finished is None:
            self._begun = time.monotonic()
        else:
            self.task = None
        return finished

    def overdue(self) -> Finished | None:
        """The task that neither ends nor hears its alarm, if it is such a one; its process is killed."""
        if self.task is None or self._begun is None or time.monotonic() - self._begun < WALL_SECONDS:
            return None
        self._process.kill()
        self._process.join()
        return self._anew(self.task, Verdict.hang, f"neither ended nor heard its alarm in {WALL_SECONDS:g} s")

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()

    def _given(self) -> Task:
        assert self.task is not None, "nothing was given"
        return self.task

    def _anew(self, task: Task, verdict: Verdict, reason: str) -> Finished:
        self.task = None
        self.pipe.close()
        self._start()
        return Finished(task, FAMILIES[task.family](task.seed, task.number).title, Outcome(verdict, reason))


def try_all(tasks: Iterable[Task], *, until: float, count: int | None = None) -> Iterator[Finished]:
    """Try tasks in processes, one per core unless ``count`` says otherwise, and give none out after ``until``."""
    with scratch() as folder:
        workers = [_Worker(folder) for _ in range(count or os.cpu_count() or 1)]
        try:
            yield from _spread(iter(tasks), workers, until)
        finally:
            for worker in workers:
                worker.stop()


def _spread(waiting: Iterator[Task], workers: Sequence[_Worker], until: float) -> Iterator[Finished]:
    while True:
        for worker in workers:
            if worker.task is None and time.monotonic() < until and (task := next(waiting, None)) is not None:
                worker.give(task)
        busy: dict[Connection, _Worker] = {each.pipe: each for each in workers if each.task is not None}
        if not busy:
            return
        for pipe in wait(list(busy), timeout=_LOOK):
            if (finished := busy[pipe].take()) is not None:  # type: ignore[index]
                yield finished
        for worker in workers:
            if (finished := worker.overdue()) is not None:
                yield finished


def _work(pipe: Connection, folder: str) -> None:
    work_in(folder)
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        task: Task = pipe.recv()
        pipe.send(None)
        case = FAMILIES[task.family](task.seed, task.number)
        pipe.send(Finished(task, case.title, attempt(case)))
