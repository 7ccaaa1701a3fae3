"""Tasks in parallel, whose results survive an interruption."""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

Task = tuple[Hashable, ...]


class Results:
    """Finished tasks in a JSON-lines file, appended one by one; a study that is started again resumes from there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, Any] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8")
        for line in text.splitlines():
            row = _read(line)
            if row is not None:
                self._rows[_key(row["task"])] = row["result"]
        if text and not text.endswith("\n"):
            # The last line was cut off; what comes next must not continue it.
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def __contains__(self, task: Sequence[Hashable]) -> bool:
        return _key(task) in self._rows

    def __getitem__(self, task: Sequence[Hashable]) -> Any:
        return self._rows[_key(task)]

    def add(self, task: Sequence[Hashable], result: Any) -> None:
        """Keep a finished task's result (JSON) on disk."""
        line = json.dumps({"task": list(task), "result": result})
        # As it will be read back: a study must not depend on whether it was interrupted.
        self._rows[_key(task)] = json.loads(line)["result"]
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def worker_pool(workers: int | None = None) -> Iterator[ProcessPoolExecutor | None]:
    """Processes with one torch thread each, started as there are tasks; one per core if ``workers`` is not given.

    None for one worker, which is this process.
    """
    context = multiprocessing.get_context("spawn")
    count = workers or os.cpu_count() or 1
    if count == 1:
        torch.set_num_threads(1)
        yield None
        return
    with ProcessPoolExecutor(count, mp_context=context, initializer=_begin_worker) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End in the middle of a task if the study was killed: one that is started again works in the same folders."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_tasks(
    function: Callable[..., Any],
    tasks: Iterable[Task],
    results: Results,
    pool: ProcessPoolExecutor | None,
    *,
    title: str = "tasks",
) -> int:
    """Do the tasks that have no result yet, ``function(*task)`` each, and return how many these were.

    Progress is shown on standard error. What a task raises is raised; finished tasks are kept.
    """
    left = [task for task in tasks if task not in results]
    if left:
        done = _one_by_one(function, left) if pool is None else _side_by_side(function, left, pool)
        for task, result in track(done, title, total=len(left), console=Console(stderr=True)):
            results.add(task, result)
    return len(left)


def _one_by_one(function: Callable[..., Any], tasks: Sequence[Task]) -> Iterator[tuple[Task, Any]]:
    return ((task, function(*task)) for task in tasks)


def _side_by_side(
    function: Callable[..., Any], tasks: Sequence[Task], pool: ProcessPoolExecutor
) -> Iterator[tuple[Task, Any]]:
    waiting = {pool.submit(function, *task): task for task in tasks}
    while waiting:
        done = wait(waiting, return_when=FIRST_COMPLETED).done
        # Failures last: what was finished at the same time is kept.
        for future in sorted(done, key=lambda future: future.exception() is not None):
            yield waiting.pop(future), future.result()


def _key(task: Sequence[Hashable]) -> str:
    return json.dumps(list(task))


def _read(line: str) -> Any:
    """A row, or None for the last line of a study that was cut off while writing it."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None
