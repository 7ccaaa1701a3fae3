"""What the code is that this process works with, so that no result is taken for that of other code."""

import hashlib
import os
import site
import sys
import sysconfig
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fedkd.core.plugin_files import SHIPPED

_PACKAGE = Path(__file__).resolve().parents[1]
_IMPORTED = time.time()

_State = tuple[tuple[str, int, int], ...]
"""The name, the time of the last change and the size of every file."""


@dataclass(frozen=True)
class Sources:
    """The Python files of fedkd and of the plug-ins that come with it, and some of the user's own.

    ``digest`` is that of their content, ``state`` what they were like; ``packages`` are as in ``sources``.
    """

    digest: str
    state: _State
    packages: frozenset[str]

    @property
    def unchanged(self) -> bool:
        """Whether they are the same files as they were, and were that before this process began to load them."""
        begun = _process_begun() * 1e9
        return _state(self.packages) == self.state and all(changed < begun for _, changed, _ in self.state)


def sources(packages: frozenset[str] = frozenset()) -> Sources:
    """The sources as they are now; ``packages`` are the user's own whose modules count, wherever they lie.

    With any of these, all modules count that this process has loaded from outside Python's installation, but for
    plug-in files: what they import is not known otherwise.
    """
    state = _state(packages)
    return Sources(_digest(state), state, packages)


def _state(packages: frozenset[str]) -> _State:
    return _state_of((*_shipped(), *(_users(packages) if packages else ())))


@cache
def _shipped() -> tuple[Path, ...]:
    folders = (_PACKAGE, SHIPPED / "strategies", SHIPPED / "clients")
    return tuple(sorted({path for folder in folders for path in folder.rglob("*.py")}))


def _users(packages: frozenset[str]) -> tuple[Path, ...]:
    installed = (*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")), *site.getsitepackages())
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file is None or name.startswith("fedkd."):
            continue
        path = Path(file).resolve()
        if name.partition(".")[0] in packages or not any(path.is_relative_to(each) for each in installed):
            found.add(path)
    return tuple(sorted(found))


def _state_of(files: Iterable[Path]) -> _State:
    found = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            found.append((str(path), -1, -1))
        else:
            found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)


@cache
def _digest(state: _State) -> str:
    """Of the names and the content of files, which are read again in another ``state``."""
    digest = hashlib.sha256()
    for path in (Path(name) for name, _, _ in state):
        content = path.read_bytes() if path.is_file() else b""
        name = path.relative_to(SHIPPED) if path.is_relative_to(SHIPPED) else path
        digest.update(f"{name}:{len(content)}:".encode() + content)
    return digest.hexdigest()


@cache
def _process_begun() -> float:
    """When this process began, in seconds since 1970; where the system does not say, when this module was loaded."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError):
        return _IMPORTED
    return time.time() - age
