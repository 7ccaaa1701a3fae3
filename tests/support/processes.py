"""Programs that run beside the tests, and what they leave behind."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any


class Program(subprocess.Popen[str]):
    """A Python process in a session of its own, which imports what this one can.

    All that it starts, directly or not, is of its session or carries its mark in the environment.
    """

    def __init__(self, *arguments: str, **options: Any) -> None:
        self._mark = f"FEDKD_TEST_PROGRAM={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        path = os.pathsep.join(entry for entry in sys.path if entry)
        environment = {**os.environ, "PYTHONPATH": path, name: value, **options.pop("env", {})}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        super().__init__(
            [sys.executable, *arguments],
            env=environment,
            text=True,
            start_new_session=True,
            **{**pipes, **options},
        )

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """As in the base class, but what does not end in time is ended, with all that it started."""
        try:
            return super().communicate(input, timeout)
        except subprocess.TimeoutExpired:
            for process in self._marked():
                os.kill(process, signal.SIGKILL)
            raise

    def family(self) -> dict[int, str]:
        """The live processes it has started, by id, with their command lines; itself not among them."""
        return {pid: command for pid, command in self._marked().items() if pid != self.pid}

    def assert_nothing_left(self, seconds: float = 15.0) -> None:
        """The process has ended, and so have all that it started, after at most so many seconds."""
        assert self.poll() is not None
        deadline = time.monotonic() + seconds
        while self._marked() and time.monotonic() < deadline:
            time.sleep(0.1)
        left = self._marked()
        assert left == {}, "\n".join(left.values())

    def _marked(self) -> dict[int, str]:
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                marked = self._mark in (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                if fields[0] != "Z" and (marked or int(fields[3]) == self.pid):
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")[:120]
            except OSError:
                continue
        return found
