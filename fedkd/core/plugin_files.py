"""Plug-in files outside the package: which there are, and loading them by path.

A folder ``strategies/`` or ``clients/`` is never imported by that name, which may well be that of a package of the
user's own. Its files are modules below this one, ``fedkd.core.plugin_files.PLACE.strategies.NAME``, where PLACE is
``shipped`` or spells the path of the folder that holds ``strategies/``. All else is Python's own import system:
relative imports of a ``_helper`` beside a file, bytecode caches, import hooks, and pickles, which any process with
fedkd can read.
"""

import ast
import importlib
import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from fedkd.core.errors import PluginError
from fedkd.core.faults import described
from fedkd.core.files import is_file

FOLDERS = ("strategies", "strategies/rules", "clients", "clients/rules")
"""Where plug-in files are looked for, below the folder where the user works and below the shipped one."""

WORKING_FOLDER = "FEDKD_WORKING_FOLDER"
"""The environment variable by which a worker process knows where its user works; elsewhere that is where it runs."""

_PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent
"""The folder of the shipped ``strategies/``, ``clients/`` and ``configs/``: inside an installed package; beside it in a
checkout or a Flower bundle."""

_SHIPPED_PLACE = "shipped"

# Makes Python look for modules below this one, where the finder at the end of this file answers.
__path__: list[str] = []


@dataclass(frozen=True)
class PluginFile:
    """A file ``folder/name.py`` below ``root``."""

    root: Path
    folder: str
    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.root / self.folder / f"{self.name}.py"

    @property
    def shipped(self) -> bool:
        """Whether it came with fedkd."""
        return self.root == SHIPPED

    @property
    def module(self) -> str:
        """The name under which it is imported."""
        return ".".join([__name__, _place_of(self.root), *self.folder.split("/"), self.name])

    def load(self) -> ModuleType:
        """The file as a module, executed once per process; raises ``PluginError`` with the line that fails.

        What it imports is found where the user works, too.
        """
        if (module := sys.modules.get(self.module)) is not None:
            return module
        if not self.shipped:
            import_from(self.root)
        # It may be younger than what Python remembers of its folder.
        importlib.invalidate_caches()
        try:
            return importlib.import_module(self.module)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{described(error, self.path)}; mend the file") from error


def working_folder() -> Path | None:
    """The folder where the user works; None when it has been removed."""
    if named := os.environ.get(WORKING_FOLDER):
        return Path(named)
    try:
        return Path.cwd()
    except OSError:
        return None


def import_from(folder: Path) -> None:
    """Let modules be imported from where the user works, where a console command does not look."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def users_file(folder: str, name: str) -> PluginFile | None:
    """The user's file of that name, if there is one that may hold a plug-in; it is not executed.

    Raises ``PluginError`` when it cannot be parsed.
    """
    root = working_folder()
    if root is None or _is_shipped(root, folder):
        return None
    file = PluginFile(root, folder, name)
    return file if _may_hold_plugin(file.path) else None


def shipped_file(folder: str, name: str) -> PluginFile | None:
    """The shipped file of that name, if there is one."""
    file = PluginFile(SHIPPED, folder, name)
    return file if is_file(file.path) else None


def names_in(folder: str) -> list[str]:
    """The names of all files that may hold a plug-in, those that cannot be parsed too, sorted; none is executed."""
    found = set(_stems(SHIPPED / folder))
    root = working_folder()
    for name in [] if root is None else _stems(root / folder):
        try:
            found |= {name} if users_file(folder, name) is not None else set()
        except PluginError:
            found.add(name)
    return sorted(found)


@lru_cache(maxsize=64)
def _is_shipped(root: Path, folder: str) -> bool:
    return (root / folder).resolve() == (SHIPPED / folder).resolve()


def _stems(folder: Path) -> list[str]:
    """The names of a folder's public Python files."""
    try:
        found = [path.stem for path in folder.iterdir() if path.suffix == ".py" and path.is_file()]
    except OSError:
        return []
    return [name for name in found if name.isidentifier() and not name.startswith("_")]


def _may_hold_plugin(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return path.is_file() and _derives_a_class(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _derives_a_class(path: Path, modified: int, size: int) -> bool:
    """Whether a file that uses fedkd, or a file beside it that may, derives a class; raises ``PluginError``.

    ``modified`` and ``size`` tell versions of the file apart.
    """
    try:
        source = path.read_bytes()
        if b"fedkd" not in source and re.search(rb"^\s*from\s+\.", source, re.MULTILINE) is None:
            return False
        tree = ast.parse(source, str(path))
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise PluginError(f"{described(error, path)}; mend the file") from error
    return any(isinstance(node, ast.ClassDef) and node.bases for node in ast.walk(tree))


def _place_of(root: Path) -> str:
    """``shipped``, or the path as an identifier that ``_root_of`` can read: ``/my-lab`` is ``_2fmy_2dlab``."""
    if root == SHIPPED:
        return _SHIPPED_PLACE
    spelt = os.fsencode(root)
    return "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"_{byte:02x}" for byte in spelt)


def _root_of(place: str) -> Path:
    if place == _SHIPPED_PLACE:
        return SHIPPED
    spelt = re.sub(rb"_([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), place.encode())
    return Path(os.fsdecode(spelt))


class _Finder(MetaPathFinder):
    """Knows the packages between this module and the files, whatever lies in the folders; the rest is Python's."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not fullname.startswith(f"{__name__}."):
            return None
        place, *parts = fullname.removeprefix(f"{__name__}.").split(".")
        root, folder = _root_of(place), "/".join(parts)
        if not root.is_absolute() or (folder and not (folder in FOLDERS and (root / folder).is_dir())):
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(root / folder)] if folder else []
        return spec


sys.meta_path.insert(0, _Finder())
