"""The ``fedkd`` command, called in this process or in one of its own, and what it said."""

import contextlib
import io
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from unittest.mock import patch

from fedkd.app.cli import main as cli

PATIENCE = 2.0
"""Seconds after which a run that was asked for much work is interrupted, as by Ctrl-C."""

INTERRUPTED = 130


@dataclass(frozen=True)
class Answer:
    """How the command ended: its exit status and everything it printed."""

    status: int
    text: str


class _Console(io.TextIOWrapper):
    """What a terminal is to the command, kept in memory."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="strict", newline="\n")

    def text(self) -> str:
        self.flush()
        written = self.buffer
        assert isinstance(written, io.BytesIO)
        return written.getvalue().decode("utf-8", errors="replace")


def call(arguments: Sequence[str], *, started: Path | None = None) -> Answer:
    """Run the command in this process; raises what escapes from it.

    Once the file ``started`` is there, the command is
    interrupted after ``PATIENCE`` seconds.
    """
    console, status = _Console(), 0
    with (
        contextlib.redirect_stdout(console),
        contextlib.redirect_stderr(console),
        patch.object(sys, "argv", ["fedkd", *arguments]),
        without_figures(),
        _interrupted_once(started),
    ):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Answer(status, console.text())


def call_apart(arguments: Sequence[str], seconds: float) -> Answer:
    """Run the command in a process of its own; raises ``subprocess.TimeoutExpired``."""
    found = subprocess.run(
        [sys.executable, "-c", "from fedkd.app.cli.main import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=seconds,
        check=False,
    )
    return Answer(found.returncode, found.stdout.decode("utf-8", errors="replace"))


@contextlib.contextmanager
def without_figures() -> Iterator[None]:
    """Inside the block, runs draw no figures, which takes four fifths of the time of a tiny one."""
    nothing = lambda *_, **__: None  # noqa: E731
    with patch.multiple("fedkd.app.run", draw_figures=nothing, draw_label_distribution=nothing):
        yield


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported, which would stay half as it is."""
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


@contextlib.contextmanager
def _interrupted_once(started: Path | None) -> Iterator[None]:
    """Inside the block, what Ctrl-C does happens once ``started`` is there and ``PATIENCE`` seconds have passed."""
    if started is None:
        yield
        return

    def look(number: int, frame: FrameType | None) -> None:
        if started.exists() and not _imports(frame):
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE, PATIENCE / 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
