"""What every study needs: tasks in parallel that survive an interruption, honest intervals, and a command line."""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

Task = tuple[Hashable, ...]


class Results:
    """Finished tasks in a JSON-lines file, appended one by one; a study that is started again goes on from there."""

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


def run_tasks(
    function: Callable[..., Any],
    tasks: Iterable[Task],
    results: Results,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Do the tasks that have no result yet, ``function(*task)`` each in a worker process with one torch thread.

    ``workers`` is one per core when not given. What a task raises ends the study; finished tasks are kept.
    """
    left = [task for task in tasks if task not in results]
    count = min(workers or os.cpu_count() or 1, max(len(left), 1))
    context = multiprocessing.get_context("spawn")
    done = 0
    with ProcessPoolExecutor(count, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for task, result in _as_completed(pool, function, left, ahead=2 * count):
                results.add(task, result)
                done += 1
                progress(done, len(left))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def study_parser(description: str | None, presets: Iterable[str]) -> argparse.ArgumentParser:
    """The options of every study: which preset, where its tables go, and where its finished parts are kept."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(presets), default="small")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--cache", type=Path, help="finished parts (default: runs/STUDY_PRESET)")
    return parser


def cache_folder(arguments: argparse.Namespace, study: str) -> Path:
    """``--cache``, or a folder for this study and its preset."""
    given: Path | None = arguments.cache
    return given or Path("runs") / f"{study}_{arguments.preset}"


def counter(what: str) -> Callable[[int, int], None]:
    """Progress of ``run_tasks`` as a line on standard error that is written over."""

    def progress(done: int, total: int) -> None:
        print(f"\r{what}: {done} of {total}", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return progress


def _as_completed(
    pool: ProcessPoolExecutor, function: Callable[..., Any], tasks: Sequence[Task], *, ahead: int
) -> Iterator[tuple[Task, Any]]:
    """Results as they come; only a few tasks are handed out at a time, so that an interruption loses little."""
    waiting: dict[Future[Any], Task] = {}
    remaining = iter(tasks)
    for task in remaining:
        waiting[pool.submit(function, *task)] = task
        if len(waiting) < ahead:
            continue
        yield from _finished(waiting)
    while waiting:
        yield from _finished(waiting)


def _finished(waiting: dict[Future[Any], Task]) -> Iterator[tuple[Task, Any]]:
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
