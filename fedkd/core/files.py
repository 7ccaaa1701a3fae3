"""Writes that leave the old content or the new one, whatever happens in between.

None of them follows a symbolic link out of the folder that it is meant for.
"""

import errno
import fcntl
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedkd.core.errors import ConfigError, FolderError, RunError
from fedkd.core.wording import shown

PARTIAL = ".partial"
"""Ends the name of a file that is being written; what a crash leaves of it is never read."""


def is_file(path: Path) -> bool:
    """Whether there is such a file; no path is too long or too odd to be asked for."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def checked_path(name: str, path: Path) -> Path:
    """The path itself; raises ``ConfigError`` for one that no file system has, being too long or with a NUL in it.

    ``name`` is the key or the option that gives it.
    """
    try:
        path.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            why = error.strerror if isinstance(error, OSError) else error
            raise ConfigError([f"{name}: {shown(str(path))} can be no path ({why}); give another one"]) from error
    return path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an ``OSError`` of a write to ``path`` into a ``RunError`` that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error}); see that its folder can be written and that the disk has room"
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns an ``OSError`` of a look at ``path`` into a ``FolderError``."""
    try:
        yield
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror}); name another one, or mend that") from error


def replace_file(path: Path, content: bytes, *, mode: int = 0o666, durable: bool = True, shared: bool = False) -> None:
    """Give ``path`` new content in one step that survives a crash and, where ``durable``, a loss of power.

    ``mode`` are the permissions of a new file, less the umask. Where a file is ``shared`` two processes may write it at
    the same time, and one of them wins. Raises ``RunError``.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}" if shared else path.name + PARTIAL)
    with writing(path):
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(partial, flags, mode), "wb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(partial, path)
            if durable:
                sync_folder(path.parent)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


@contextmanager
def held(path: Path, danger: str) -> Iterator[None]:
    """Hold a lock file, waiting for whoever holds it; the lock ends with the process, however that ends.

    Raises ``RunError`` on a file system without locks, where ``danger`` says what could happen.
    """
    with writing(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise RunError(
                f"{path} cannot be locked ({error}), and two requests at once could {danger}; keep clients' state on a "
                "file system with locks"
            ) from error
        yield
    finally:
        os.close(handle)


def append(path: Path, content: bytes) -> None:
    """Add ``content`` at the end of a file, on disk on return. A crash may leave a part of it; raises ``RunError``."""
    with writing(path), os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW), "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_end(path: Path, size: int, content: bytes) -> None:
    """Put ``content`` where what follows the first ``size`` bytes was, on disk on return.

    A crash leaves these first bytes and anything after them; raises ``RunError``.
    """
    with writing(path), os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renamed and removed names in a folder last; raises ``OSError``."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def json_text(content: Any, **layout: Any) -> str:
    """Content as valid JSON, in which a number that is not finite is null; ``layout`` is as in ``json.dumps``."""
    return json.dumps(_finite(content), allow_nan=False, **layout)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a result atomically; raises ``RunError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json_text(content, indent=1, ensure_ascii=False) + "\n").encode())


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list | tuple) else content
