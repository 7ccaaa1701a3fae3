"""One Ray for several experiments, one after another, in a process of its own."""

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fedkd.core.errors import RunError
from fedkd.engines.ray.cluster import START_SECONDS, environment, require_ray, start_remedy

STOP_SECONDS = 30.0


@dataclass(frozen=True)
class RaySize:
    """How large a Ray is: one CPU per worker."""

    workers: int
    gpus: int = 0


class SharedRay:
    """Starts a Ray when one is first asked for and stops it on leaving; a context manager.

    It is not among the processes of the terminal's foreground, so that Ctrl-C reaches it through this one only.
    """

    def __init__(self) -> None:
        self._host: subprocess.Popen[str] | None = None
        self._size: RaySize | None = None
        self._address = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def address(self, size: RaySize) -> str:
        """``host:port`` of a Ray of this size: the one that is running, else a new one in its place.

        Raises ``RunError`` when it does not start.
        """
        if self._host is None or self._host.poll() is not None or self._size != size:
            self.stop()
            self._start(size)
        return self._address

    def stop(self) -> None:
        """Stop the Ray that is running, if there is one, and wait until it is gone."""
        host, self._host = self._host, None
        if host is None:
            return
        try:
            # One that has not said where its Ray is has nothing that needs an orderly end.
            if self._address:
                with suppress(BrokenPipeError, subprocess.TimeoutExpired):
                    host.communicate(timeout=STOP_SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(host.pid, signal.SIGKILL)
            host.wait()
            for stream in (host.stdin, host.stdout):
                if stream is not None:
                    stream.close()

    def _start(self, size: RaySize) -> None:
        require_ray()
        self._address = ""
        self._host = subprocess.Popen(
            [sys.executable, "-P", "-m", "fedkd.engines.ray.host", str(size.workers), str(size.gpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment(local=True, verbose=False),
            start_new_session=True,
        )
        answer = self._answer(self._host)
        if "address" not in answer:
            self.stop()
            raise RunError(f"no Ray for the experiments to share: {answer['error']}")
        self._size, self._address = size, answer["address"]

    @staticmethod
    def _answer(host: subprocess.Popen[str]) -> dict[str, str]:
        if host.stdout is None or not select.select([host.stdout], [], [], START_SECONDS)[0]:
            reason = f"it did not start within {START_SECONDS:g} s"
            return {"error": f"{reason}; {start_remedy(reason)}"}
        line = host.stdout.readline()
        if not line:
            return {"error": f"its process ended with status {host.wait()}"}
        found: dict[str, str] = json.loads(line)
        return found
