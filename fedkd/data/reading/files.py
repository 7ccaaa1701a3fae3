"""Files that a configuration names: where they are, and whether there is memory for what they hold."""

from collections.abc import Sequence
from pathlib import Path

from fedkd.core import plugin_files
from fedkd.core.errors import ConfigError, DataError
from fedkd.core.files import checked_path, is_file
from fedkd.core.wording import cut, nearest, shown


def place(option: str, path: str) -> Path:
    """The path, seen from the folder where the user works; ``option`` of the data source gives it.

    Raises ``ConfigError`` for what can be no path.
    """
    root = plugin_files.working_folder() or Path()
    try:
        return checked_path(f"data.dataset.{option}", root / Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigError([f"data.dataset.{option}: {error}, got {shown(path)}; give the whole path"]) from error


def places(**paths: str | None) -> list[Path]:
    """The places of those options that give a path."""
    return [place(option, path) for option, path in paths.items() if path is not None]


def file_at(option: str, path: str, endings: Sequence[str], remedy: str) -> Path:
    """The file, whose name must have one of ``endings``; raises ``DataError``, with ``remedy`` for another ending."""
    found = place(option, path)
    if found.is_dir():
        raise DataError(f"data.dataset.{option}: must be a file, got the folder {found}; name a file in it")
    if not is_file(found):
        raise missing(option, found, "file")
    if found.suffix.lower() not in endings:
        raise DataError(
            f"data.dataset.{option}: must be a file that ends in {', '.join(endings)}, got {found}; {remedy}"
        )
    return found


def folder_at(option: str, path: str) -> Path:
    """The folder; raises ``DataError`` where there is none."""
    found = place(option, path)
    if is_file(found):
        raise DataError(f"data.dataset.{option}: must be a folder, got the file {found}; name the folder it lies in")
    if not found.is_dir():
        raise missing(option, found, "folder")
    return found


def missing(option: str, path: Path, what: str) -> DataError:
    """That nothing is there, and what there is of a similar name."""
    try:
        close = nearest(path.name, (each.name for each in path.parent.iterdir()))
    except OSError:
        close = None
    hint = f"did you mean {close!r}?" if close else "paths start from the folder in which fedkd is called"
    return DataError(f"data.dataset.{option}: there is no {what} {path}; {hint}")


def no_column(option: str, name: str, columns: Sequence[str], where: str) -> DataError:
    """That a table, a file of arrays or a data set has no such part, and which it has."""
    close = nearest(name, columns)
    listing = cut(", ".join(columns)) or "none"
    hint = f"did you mean {close!r}? ({listing})" if close else f"name one of {listing}"
    return DataError(f"data.dataset.{option}: {where} has no {shown(name)}; {hint}")


def check_memory(option: str, where: str, size: int) -> None:
    """Raise ``DataError`` when ``size`` bytes are more than the machine has left."""
    left = _memory_left()
    if left is not None and size > left:
        raise DataError(
            f"data.dataset.{option}: {where} takes {size / 1e9:,.1f} GB in memory, and {left / 1e9:,.1f} GB are left; "
            "use fewer samples or smaller ones, or .npy files (data.dataset=npz), of which only what is used is read"
        )


def _memory_left() -> int | None:
    """Bytes, on Linux."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None
