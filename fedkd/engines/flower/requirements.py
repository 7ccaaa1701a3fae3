"""Whether the Python that runs a Flower app is one that the app was made for."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
"""In a checkout and in a Flower app bundle; an installed wheel has none, and was checked when it was installed."""


def unmet_requirements(project: Path = PROJECT) -> list[str]:
    """What of a Flower app's dependencies this Python lacks or has in another version; nothing without a project."""
    if not project.is_file():
        return []
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    wanted = [*table["dependencies"], *table["optional-dependencies"]["flower"]]
    return [text for line in wanted if (text := _fault(Requirement(line))) is not None]


def _fault(wanted: Requirement) -> str | None:
    if wanted.marker is not None and not wanted.marker.evaluate():
        return None
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return f"{wanted.name} is {found} and must be {wanted.specifier}"
