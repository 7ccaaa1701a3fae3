"""What ``fedkd analyse`` found, as a part of a page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedkd.core.documents import read_document
from fedkd.core.errors import FolderError
from fedkd.results.report.figures import is_whole
from fedkd.results.report.page import Block, Notice, Paragraph, Picture, section

ANALYSIS = "analysis.json"
"""What was found, by analysis, in a run's folder."""
PAGE = "analysis.html"
CAUTION = "These are figures of one run: what differs little may be chance, and is worth a claim only over seeds."


def read_analysis(folder: Path, run: str) -> dict[str, Any] | None:
    """What is in ``analysis.json``, and None where there is none.

    Raises ``FolderError`` for a file that is not as it was written, or is another run's.
    """
    path, remedy = folder / ANALYSIS, f"remove it, and repeat fedkd analyse {folder}"
    if not path.exists():
        return None
    found = read_document(path, run, remedy)
    if not isinstance(found.get("findings"), dict) or not isinstance(found.get("skipped"), dict):
        raise FolderError(f"{path} is damaged: it has no findings; {remedy}")
    return found


def picture_of(folder: Path, name: str) -> Path:
    """Where the picture of an analysis is."""
    return folder / "plots" / f"analysis_{name.replace(':', '.')}.png"


def remove_analysis(folder: Path) -> None:
    """Remove what was found of a run that goes on; raises ``OSError``."""
    for path in (folder / ANALYSIS, folder / PAGE, *(folder / "plots").glob("analysis_*.png")):
        path.unlink(missing_ok=True)


def analysis_parts(folder: Path, run: str) -> Iterator[Block | None]:
    """A caution, for each analysis its sentences and its picture, and why others were left out."""
    found = read_analysis(folder, run)
    if found is None:
        return
    yield Paragraph(CAUTION)
    for name, finding in found["findings"].items():
        yield section(name, *map(Paragraph, finding["sentences"]), _picture(folder, name, finding))
    for name, reason in found["skipped"].items():
        yield section(name, Notice(f"Not analysed: {reason}."))


def _picture(folder: Path, name: str, finding: dict[str, Any]) -> Picture | None:
    path = picture_of(folder, name)
    return Picture(path.read_bytes(), finding["caption"]) if is_whole(path) else None
