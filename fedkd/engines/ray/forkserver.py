"""A process that forks workers: whoever connects to its socket is served by a process of its own.

    python -m fedkd.engines.ray.forkserver SOCKET     # the number of a listening socket's file

A worker begins with all that the server has loaded, code and data alike, in memory that it shares with it.
"""

import ctypes
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

BACKLOG = 128
_PR_SET_PDEATHSIG = 1

_safe = False


def allow_forking() -> None:
    """Say that all code of this process is fedkd's, so that it may be forked; until then torch uses one thread here.

    A runtime of OpenMP that has started threads, as in a notebook, does not survive a fork.
    """
    import torch

    global _safe
    _safe = sys.platform == "linux"
    torch.set_num_threads(1)


def may_fork() -> bool:
    """Whether workers can be forked from this process as it is now."""
    return _safe and threading.active_count() == 1


class ForkServer:
    """Starts a server: ``forked`` off this process, else one that loads everything anew. ``stop`` ends it with its
    workers; when this process dies, that happens by itself.

    ``path`` is that of its socket, in a folder that nobody else can read.
    """

    def __init__(self, *, forked: bool, verbose: bool = False) -> None:
        self._folder = tempfile.mkdtemp(prefix="fedkd-", dir="/tmp" if os.access("/tmp", os.W_OK) else None)
        self.path = str(Path(self._folder, "workers"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen(BACKLOG)
            lifeline, self._lifeline = os.pipe()
            try:
                self._process = _fork(listener, lifeline, self._lifeline, verbose) if forked else None
                self._program = None if forked else _execute(listener, lifeline, verbose)
            finally:
                os.close(lifeline)

    def stop(self) -> None:
        """End the server and its workers."""
        os.close(self._lifeline)
        if self._process is not None:
            with suppress(ChildProcessError):
                os.waitpid(self._process, 0)
        if self._program is not None:
            self._program.wait()
        with suppress(OSError):
            Path(self.path).unlink()
            Path(self._folder).rmdir()


def _fork(listener: socket.socket, lifeline: int, other_end: int, verbose: bool) -> int:
    process = _fork_quietly()
    if process == 0:
        try:
            os.close(other_end)
            os.setsid()  # Ctrl-C is for the parent alone
            if not verbose:
                _hush()
            serve(listener, lifeline)
        finally:
            os._exit(0)
    return process


def _fork_quietly() -> int:
    """As ``os.fork``, of which Python 3.12 and later warn for threads that NumPy's BLAS has, and makes anew itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _execute(listener: socket.socket, lifeline: int, verbose: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(listener.fileno())],
        stdin=lifeline,
        stdout=None if verbose else subprocess.DEVNULL,
        stderr=None if verbose else subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
        start_new_session=True,
    )


def serve(listener: socket.socket, lifeline: int) -> None:
    """Fork a worker for each connection until the other end of ``lifeline`` is closed."""
    from fedkd.engines.ray.worker import work

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for workers
    gc.freeze()  # what is there already stays shared for longer
    while True:
        ready, _, _ = select.select([listener.fileno(), lifeline], [], [])
        if lifeline in ready:
            return
        connection, _ = listener.accept()
        if _fork_quietly() == 0:
            try:
                _die_with_parent()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                os.close(lifeline)
                work(Connection(connection.detach()))
            finally:
                os._exit(0)
        connection.close()


def _die_with_parent() -> None:
    """Have the system end this process when its parent ends (Linux): one at work would not notice."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _hush() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def main() -> None:
    """Load what workers need, and serve."""
    import fedkd.experiment  # noqa: F401

    serve(socket.socket(fileno=int(sys.argv[1])), sys.stdin.fileno())


if __name__ == "__main__":
    main()
