"""Where the configurations that come with fedkd are."""

from pathlib import Path

from fedkd.core.files import is_file
from fedkd.core.plugin_files import SHIPPED

_FOLDER = SHIPPED / "configs"


def config_path(name: str | Path) -> Path:
    """The file that ``name`` means: a path if there is such a file, else a shipped configuration, else ``name`` itself.

    ``quickstart``, ``quickstart.yaml`` and ``configs/quickstart.yaml`` all find the shipped one.
    """
    given = Path(name)
    if is_file(given):
        return given
    relative = Path(*given.parts[1:]) if len(given.parts) > 1 and given.parts[0] == "configs" else given
    for candidate in (_FOLDER / relative, _FOLDER / f"{relative}.yaml"):
        if not relative.is_absolute() and is_file(candidate):
            return candidate
    return given


def config_names() -> list[str]:
    """The names of the shipped configurations, sorted; subfolders are part of the name."""
    return sorted(str(path.relative_to(_FOLDER).with_suffix("")) for path in _FOLDER.rglob("*.yaml"))
