"""One process at a time in a run directory."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedkd.core.errors import RunError
from fedkd.core.files import writing

LOCK_FILE = ".lock"
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made if need be, for this process alone.

    The lock belongs to the process and ends with it, however it ends; the file that stays behind means nothing. On a
    file system without locks there is none. Raises ``RunError`` when another process holds the folder, or it cannot be
    written.
    """
    path = folder / LOCK_FILE
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
            raise RunError(
                f"{folder} is in use by {holder}; wait until it has ended, or choose another folder with --out"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise RunError(f"{path} cannot be locked ({error}); choose another folder with --out") from error
        with suppress(OSError):
            # For the message above only: a full disk must not keep anybody from reading why.
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
