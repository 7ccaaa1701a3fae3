"""One case, tried: the verdict on it, whatever happens."""

import math
import os
import shutil
import signal
import tempfile
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fuzzing.outcome import ACCEPTED, REFUSED, Case, EscapedError, NonsenseError, Outcome, Verdict

SECONDS = 20.0
"""Processor time that a case may take."""

_FRAMES = 4


class _OverdueError(BaseException):
    """The case has taken too long; no ``Exception``, so that nothing catches it on the way."""


def attempt(case: Case, seconds: float = SECONDS) -> Outcome:
    """Try a case in a new empty folder, where this process works meanwhile, and judge what came of it."""
    home = Path.cwd()
    folder = Path(tempfile.mkdtemp(prefix="case-"))
    os.chdir(folder)
    try:
        with _alarm(seconds):
            return ACCEPTED if case.attempt(folder) else REFUSED
    except _OverdueError as error:
        return Outcome(Verdict.hang, f"still going on after {seconds:g} s of computing, {_where(error)}")
    except EscapedError as error:
        return Outcome(Verdict.traceback, str(error))
    except NonsenseError as error:
        return Outcome(Verdict.nonsense, str(error))
    except BaseException as error:  # whatever it is, it should not have come so far
        return Outcome(
            Verdict.traceback, f"{type(error).__name__}: {str(error)[:300]!a}, {_where(error)}{_notes(error)}"
        )
    finally:
        os.chdir(home)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise _OverdueError

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds if math.isfinite(seconds) else 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return "at " + " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def _notes(error: BaseException) -> str:
    return "".join(f"; {note}" for note in getattr(error, "__notes__", ()))


@contextmanager
def scratch() -> Iterator[str]:
    """A folder for everything temporary, in memory where there is such a folder: runs bring each file to disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="fedkd-fuzz-", dir=memory if os.access(memory, os.W_OK) else None
    ) as folder:
        yield folder


def work_in(folder: str) -> None:
    """Have this process keep everything temporary there, and reach no network: what is not here, is not fetched."""
    tempfile.tempdir = folder
    urllib.request.urlopen = unreachable


def unreachable(*_: object, **__: object) -> NoReturn:
    """What takes the place of ``urlopen``."""
    raise urllib.error.URLError("the network is not tried here")


def once(name: str, make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills, the first time that any of the processes asks for it."""
    folder = Path(tempfile.gettempdir()) / "made once" / name
    if not folder.is_dir():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            make(Path(place) / "new")
            with suppress(OSError):  # another process was faster
                (Path(place) / "new").rename(folder)
    return folder
