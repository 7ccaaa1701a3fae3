"""Where the configurations that come with fedkd are."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "shipped_configs", _PACKAGE.parent / "configs")
"""In an installed wheel, and in a checkout or an editable installation of one."""


def config_path(name: str | Path) -> Path:
    """The file that ``name`` means: a path if there is such a file, else a shipped configuration, else ``name`` itself.

    ``quickstart``, ``quickstart.yaml`` and ``configs/quickstart.yaml`` all find the shipped one.
    """
    given = Path(name)
    if given.is_file():
        return given
    relative = Path(*given.parts[1:]) if len(given.parts) > 1 and given.parts[0] == "configs" else given
    for folder in _FOLDERS:
        for candidate in (folder / relative, folder / f"{relative}.yaml"):
            if not relative.is_absolute() and candidate.is_file():
                return candidate
    return given


def config_names() -> list[str]:
    """The names of the shipped configurations, sorted; subfolders are part of the name."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    if folder is None:
        return []
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))
