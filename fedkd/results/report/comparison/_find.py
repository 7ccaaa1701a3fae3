"""Runs in the folders that a user names."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fedkd.core.errors import FolderError
from fedkd.results.report.run_log import RunLog, holds_run

SWEEP_FILE = "sweep.json"
"""In the folder of a sweep: what became of its cells."""
_DEPTH = 2
"""A folder of sweeps holds sweeps, which hold runs."""


def find_runs(folders: Iterable[Path]) -> list[RunLog]:
    """The runs in the folders, each of which is a run, a sweep, or a folder of these; every run once, in order.

    Raises ``FolderError`` for a folder in which there is no run, and for runs that are damaged.
    """
    found: dict[Path, RunLog] = {}
    for folder in folders:
        runs = list(_runs_in(folder, _DEPTH)) if folder.is_dir() else []
        if not runs:
            problem = "holds no run" if folder.is_dir() else "is no folder"
            raise FolderError(
                f"{folder} {problem}; name the folder of a run (with config.yaml and rounds.jsonl), of a sweep, or one "
                "that holds such folders"
            )
        for run in runs:
            if (path := run.resolve()) not in found:
                found[path] = RunLog.read(run)
    return list(found.values())


def _runs_in(folder: Path, depth: int) -> Iterator[Path]:
    if holds_run(folder):
        yield folder
    elif depth > 0:
        for inner in sorted((entry for entry in folder.iterdir() if entry.is_dir()), key=_place_in_sweep(folder)):
            yield from _runs_in(inner, depth - 1)


def _place_in_sweep(folder: Path) -> Callable[[Path], tuple[int, str]]:
    """A sweep's cells come in the order of its grid, all else by name."""
    try:
        cells = json.loads((folder / SWEEP_FILE).read_text(encoding="utf-8"))["cells"]
        places = {str(cell["folder"]): path for path, cell in enumerate(cells)}
    except (OSError, ValueError, KeyError, TypeError):
        places = {}
    return lambda entry: (places.get(entry.name, len(places)), entry.name)
