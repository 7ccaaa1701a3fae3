"""From folders to runs."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fedkd import __version__
from fedkd.app.runs.run import Run
from fedkd.app.runs.several import Runs
from fedkd.core.errors import ConfigError, FolderError
from fedkd.core.files import checked_path, is_file
from fedkd.results.checkpoint import checkpoint_path, checkpoint_rounds, load_checkpoint
from fedkd.results.directory import RunDirectory
from fedkd.results.stages import Stages
from fedkd.results.summary_file import SUMMARY
from fedkd.server.finished import RESULT, TASKS_RESULT

_RUN_FILES = ("config.yaml", "rounds.jsonl")


def load_run(folder: str | os.PathLike[str], *, unfinished: bool = False) -> Run:
    """The run in ``folder``, which ``fedkd run`` or ``fedkd distill`` has written.

    Its files are checked; frames, networks and figures are made when they are asked for. With ``unfinished`` what there
    is of a run that is not finished can be read as well.

    Raises ``FolderError`` for a folder without a run, for a run that is not finished unless that is asked for, for
    files that are not as they were written, and for those that only another version of fedkd can read.
    """
    path = checked_path("folder", Path(folder))
    _require_run(path)
    run = Run(path)
    try:
        complete = run.finished
    except (ConfigError, FolderError) as error:
        version = _version_of(path)
        if version in {None, __version__}:
            raise
        raise FolderError(
            f"{path} was written by fedkd {version}, and fedkd {__version__} cannot read it ({error}); read it with "
            "that version"
        ) from error
    if not complete and not unfinished:
        command = f"distill {path / 'config.yaml'}" if run.of_one_network else "run"
        raise FolderError(
            f"{path} holds a run that is not finished: {run.progress}; fedkd {command} --resume --out {path} goes on, "
            "and load_run(..., unfinished=True) reads what there is: its configuration, its frames and figures"
        )
    return run


def load_runs(folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, unfinished: bool = False) -> Runs:
    """The runs of ``fedkd run`` in a folder, or in several: each is a run, a sweep, or a folder of these.

    They come in the order of the folders and, in a sweep, of its grid. Raises ``FolderError`` as ``load_run`` does, and
    for a folder in which there is no run.
    """
    from fedkd.results.report.comparison import find_runs

    several = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    found = find_runs(checked_path("folders", Path(folder)) for folder in several)
    return Runs([load_run(log.path, unfinished=unfinished) for log in found])


def _require_run(path: Path) -> None:
    if not path.is_dir():
        raise FolderError(f"{path} is no folder; name the one that a run was written to")
    if RunDirectory.holds_run(path) or Stages.are_in(path):
        return
    hint = "name a folder that fedkd run or fedkd distill has written"
    if is_file(path / "sweep.json"):
        hint = "it holds a sweep, whose runs load_runs reads"
    raise FolderError(f"{path} holds no run: there is neither {' nor '.join(_RUN_FILES)}; {hint}")


def _version_of(path: Path) -> str | None:
    """The version of fedkd that wrote the run, where that can be told."""
    for name in (SUMMARY, RESULT, TASKS_RESULT):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads((path / name).read_text(encoding="utf-8"))["versions"]["fedkd"])
    for round in reversed(checkpoint_rounds(path)):
        with suppress(FolderError):
            return load_checkpoint(checkpoint_path(path, round), round).record.origin.versions.get("fedkd")
    return None
