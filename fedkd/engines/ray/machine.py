"""A Ray actor that has the workers of one machine.

It imports neither torch nor anything that does: its workers are forked from a process that has all that.
"""

import os
import pickle
import queue
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from fedkd.core.errors import RunError
from fedkd.engines.ray.forkserver import ForkServer
from fedkd.engines.ray.protocol import COHORT, GREETING, JOB


@dataclass
class _Worker:
    """A process, the connection to it, and the number of the job that it has been sent."""

    connection: Connection
    process: int
    job: int = 0


class Machine:
    """Has workers do cohorts, each one at a time; to be called by more threads than there are workers.

    ``path`` is the socket of a fork server on this machine (None: one is started, which takes seconds). ``gpus`` are
    the GPUs that the workers share evenly, as CUDA names them (None: those that Ray gave this actor).
    """

    def __init__(self, workers: int, client_fn: str, path: str | None, gpus: Sequence[str] | None) -> None:
        self._client_fn = client_fn
        self._gpus = _given_gpus() if gpus is None else gpus
        known = path is not None and Path(path).exists()
        self._server = None if known else ForkServer(forked=False)
        self._path = str(path) if self._server is None else self._server.path
        self._workers = workers
        self._idle: queue.SimpleQueue[tuple[int, _Worker | None]] = queue.SimpleQueue()
        self._busy: dict[int, _Worker] = {}

    def open(self) -> str:
        """Start the workers; why one cannot work, or nothing."""
        for place in range(self._workers):
            try:
                self._idle.put((place, self._start(place)))
            except RunError as error:
                return str(error)
            except (OSError, EOFError) as error:
                return f"the process that was to fork it ended ({type(error).__name__}); --verbose shows why"
        return ""

    def perform(self, number: int, job: bytes, cohort: bytes) -> bytes | None:
        """What a worker replies to a cohort of the job of that number; None when it died over it."""
        place, worker = self._idle.get()
        try:
            worker = worker or self._start(place)
            self._busy[place] = worker
            if worker.job != number:
                worker.connection.send_bytes(JOB + job)
                worker.job = number
            worker.connection.send_bytes(COHORT + cohort)
            return worker.connection.recv_bytes()
        except (OSError, EOFError):
            if worker is not None:
                worker.connection.close()
            worker = None
            return None
        finally:
            self._busy.pop(place, None)
            self._idle.put((place, worker))

    def replace_busy(self) -> None:
        """End the workers that are still at work; others take their places."""
        for worker in list(self._busy.values()):
            with suppress(ProcessLookupError):
                os.kill(worker.process, signal.SIGKILL)

    def close(self) -> None:
        """End the workers."""
        self.replace_busy()
        if self._server is not None:
            self._server.stop()

    def _start(self, place: int) -> _Worker:
        """A worker; raises ``RunError`` when it cannot do the clients' work."""
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(self._path)
        connection = Connection(caller.detach())
        worker = _Worker(connection, int(connection.recv_bytes()))
        gpu = self._gpus[place * len(self._gpus) // self._workers] if self._gpus else None
        connection.send_bytes(GREETING + pickle.dumps((self._client_fn, gpu)))
        if reason := connection.recv_bytes().decode():
            raise RunError(reason)
        return worker


def _given_gpus() -> list[str]:
    import ray

    return [str(each) for each in ray.get_gpu_ids()]
