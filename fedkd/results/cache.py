"""Results of work that other runs would do again, in one folder that all processes of a user share.

An entry is a file that says itself what it is and whether it is whole (``fedkd.core.sealed``), named by its key: what
it is of, and a digest of all that it follows from. So it never has to be brought up to date, and whoever makes it makes
the same. One that is damaged is taken for absent, and removed. When there is more than the bound, what was not used for
longest goes.

Nothing depends on the cache but time: what cannot be read or written is done again.
"""

import fcntl
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedkd.core.errors import ConfigError, FedkdError, FolderError
from fedkd.core.files import checked_path
from fedkd.core.sealed import load_sealed, save_sealed
from fedkd.core.wording import shown

FOLDER, GIGABYTES = "FEDKD_CACHE", "FEDKD_CACHE_GB"
"""Environment variables: where the cache is, and how large it may be; 0 switches it off."""

USUAL_FOLDER, USUAL_GIGABYTES = "~/.cache/fedkd/results", 2.0

_LOCKS = "locks"
_FREE, _SCAN = 8, 128
"""Making room leaves an eighth of the bound free; after so small a part of it has been written one looks again. So the
bound holds with sixteen processes writing at once."""


@dataclass(frozen=True)
class Usage:
    """What there is in a cache: how many bytes, and entries by what they are of."""

    bytes: int
    entries: Mapping[str, int]


@dataclass(frozen=True)
class _File:
    path: Path
    bytes: int
    used: float


class Cache:
    """Entries by key, ``KIND-DIGEST``, in ``folder``, of about ``most_bytes`` together."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._unseen = math.inf
        self._locks: int | None = None

    def __del__(self) -> None:
        if self._locks is not None:
            os.close(self._locks)

    @classmethod
    def of_user(cls) -> "Cache":
        """The cache that the environment names; raises ``ConfigError`` for a bound that is no number."""
        text = os.environ.get(GIGABYTES, str(USUAL_GIGABYTES))
        try:
            gigabytes = float(text)
        except ValueError:
            gigabytes = math.nan
        if not 0 <= gigabytes < math.inf:
            raise ConfigError([f"{GIGABYTES}: must be a number of gigabytes from 0 on, got {shown(text)}; set it to 2"])
        folder = Path(os.environ.get(FOLDER) or USUAL_FOLDER)
        try:
            return cls(checked_path(FOLDER, folder.expanduser()), int(gigabytes * 1e9))
        except RuntimeError as error:
            raise ConfigError([f"{FOLDER}: {error}, got {shown(str(folder))}; give the folder's whole path"]) from error

    def load(self, key: str) -> dict[str, Any] | None:
        """The content of an entry: tensors on the CPU and plain values; None where there is none that is whole."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            content = load_sealed(path, _label(key))
        except FolderError:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def save(self, key: str, content: Mapping[str, Any]) -> None:
        """Keep tensors and plain values under ``key``, if there is room and the folder can be written."""
        if self.most_bytes == 0:
            return
        with suppress(OSError, FedkdError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._path(key)
            save_sealed(path, content, _label(key), durable=False, shared=True)
            self._unseen += path.stat().st_size
            if self._unseen >= self.most_bytes / _SCAN:
                self._make_room()

    @contextmanager
    def claim(self, key: str, *, wait: bool) -> Iterator[bool]:
        """Whether the work for ``key`` is the caller's: False while another process is at it, for which one can wait.

        It is about not doing work twice only: a claim ends with its process, and where there are no locks everybody
        has what he asks for.
        """
        begin = int(key.rpartition("-")[2][:15], 16)
        taken = self._lock(fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, begin)
        try:
            yield taken
        finally:
            if taken:
                self._lock(fcntl.LOCK_UN, begin)

    def usage(self) -> Usage:
        """What there is; raises ``FolderError`` when that cannot be seen."""
        files = self._files()
        kinds = Counter(file.path.name.partition("-")[0] for file in files)
        return Usage(sum(file.bytes for file in files), dict(sorted(kinds.items())))

    def clear(self) -> Usage:
        """Remove all entries; returns what there was. Raises ``FolderError`` when that cannot be done."""
        found = self.usage()
        try:
            for file in self._files():
                file.path.unlink(missing_ok=True)
        except OSError as error:
            raise FolderError(f"{self.folder} cannot be cleared ({error}); remove it yourself") from error
        return found

    def _make_room(self) -> None:
        files = self._files()
        total, aim = sum(file.bytes for file in files), self.most_bytes - self.most_bytes // _FREE
        for file in sorted(files, key=lambda file: file.used):
            if total <= aim:
                break
            file.path.unlink(missing_ok=True)
            total -= file.bytes
        self._unseen = 0

    def _files(self) -> list[_File]:
        """All entries, and what interrupted writes left of some."""
        found = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # removed by another process meanwhile
                        status = entry.stat(follow_symlinks=False)
                        if entry.name != _LOCKS and entry.is_file(follow_symlinks=False):
                            found.append(_File(Path(entry.path), status.st_size, status.st_mtime))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise FolderError(
                f"{self.folder} cannot be read ({error.strerror}); let {FOLDER} name another folder"
            ) from error
        return found

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.pt"

    def _lock(self, operation: int, begin: int) -> bool:
        """Locks of bytes of one file, one a key: no files are left behind, and the system frees those of the dead."""
        try:
            if self._locks is None:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._locks = os.open(self.folder / _LOCKS, flags, 0o600)
            fcntl.lockf(self._locks, operation, 1, begin)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


def _label(key: str) -> str:
    return f"cached result {key}, format 1"
