"""The simulation's end of the process that speaks to Ray."""

import atexit
import multiprocessing.connection
import os
import signal
import subprocess
import sys
from contextlib import suppress

from fedkd.config.schema import EngineConfig
from fedkd.core.errors import RunError
from fedkd.engines.ray import cluster
from fedkd.engines.ray.forkserver import allow_forking
from fedkd.engines.ray.protocol import Begin

STOP_SECONDS = 15.0

LOCAL = "local"
"""Stands for a Ray of the simulation's own where an address is wanted."""

_early: "RayProcess | None" = None


class RayProcess:
    """Starts the process, which starts a Ray or attaches to that at ``address``; ``stop`` ends both.

    It is not among the processes of the terminal's foreground, so that Ctrl-C reaches it through this one only. When
    this process dies, that ends it too.
    """

    def __init__(self, address: str, *, verbose: bool) -> None:
        cluster.require_ray()
        own = address == LOCAL or cluster.on_loopback_only(address)
        self.address, self.verbose = address, verbose
        chatty = ["verbose"] if verbose else []
        self.connection, theirs = multiprocessing.connection.Pipe()
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "fedkd.engines.ray.driver",
                    str(theirs.fileno()),
                    address,
                    *chatty,
                ],
                stdin=subprocess.DEVNULL,
                stdout=None if verbose else subprocess.DEVNULL,
                stderr=None if verbose else subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=cluster.environment(local=own, verbose=verbose),
                start_new_session=True,
            )
        finally:
            theirs.close()

    def begin(self, asked: Begin) -> tuple[int, int]:
        """Have the workers started: how many there are, and GPUs; raises ``RunError`` when that fails."""
        try:
            self.connection.send(asked)
            if not self.connection.poll(asked.seconds + cluster.START_SECONDS):
                reason = f"it did not start within {asked.seconds + cluster.START_SECONDS:g} s"
                raise RunError(f"Ray did not start: {reason}; {cluster.start_remedy(reason)}")
            answer, *found = self.connection.recv()
        except (EOFError, OSError):
            reason = f"its process ended with status {self._process.wait()}"
            raise RunError(f"Ray did not start: {reason}; {cluster.start_remedy(reason)}") from None
        if answer == "failed":
            raise RunError(found[0])
        return found[0], found[1]

    def stop(self) -> None:
        """End the process, its workers and the Ray that it started, and wait until they are gone."""
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):
            # A Ray of its own has nothing to lose; a cluster is told.
            self._process.wait(0.0 if self.address == LOCAL else STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def start_early(config: EngineConfig, *, verbose: bool) -> None:
    """In a process all of whose code is fedkd's, begin to start the Ray that ``ray_process`` will hand out, before
    torch and the data are loaded; the workers may be forked from this process then.
    """
    global _early
    if config.kind != "ray":
        return
    if config.address is None and _early is None:
        with suppress(RunError):  # what keeps it from starting is told when it is needed
            _early = RayProcess(LOCAL, verbose=verbose)
            atexit.register(_stop_early)
    allow_forking()


def ray_process(address: str, *, verbose: bool) -> RayProcess:
    """The process that was started early where it fits, else another."""
    global _early
    found, _early = _early, None
    if found is not None and (found.address, found.verbose) == (address, verbose):
        return found
    if found is not None:
        found.stop()
    return RayProcess(address, verbose=verbose)


def _stop_early() -> None:
    """A start that turned out to be for nothing."""
    global _early
    found, _early = _early, None
    if found is not None:
        found.stop()
