"""A comparison's tables and figures as files that a paper takes in."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from fedkd.results.report import paper, tables
from fedkd.results.report.comparison._figures import FIGURES
from fedkd.results.report.comparison._groups import Group, names_of
from fedkd.results.report.comparison._tables import all_tables
from fedkd.results.report.figures import Notice


def write_tables(groups: Sequence[Group], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write every table of the comparison into ``folder``, once for each of its ``formats``; return the paths.

    Raises ``RunError`` where they cannot be written.
    """
    paths = []
    for table in all_tables(groups):
        for ending in (each for each in formats if each in tables.FORMATS):
            text = tables.FORMATS[ending](table)
            paths.append(paper.write_file(folder / f"{table.name}.{ending}", text.encode("utf-8", "backslashreplace")))
    return paths


def write_figures(groups: Sequence[Group], folder: Path, formats: Sequence[str], notice: Notice) -> list[Path]:
    """Write every figure that shows something into ``folder``, for one column of a paper in two; return the paths.

    ``notice`` is told of figures that could not be drawn. Raises ``RunError`` where they cannot be written.
    """
    labelled = {label: group for label, group in names_of(groups).items() if group.runs}
    figures = {name: partial(kind.draw, labelled) for name, kind in FIGURES.items()}
    return paper.write_figures(figures, folder, formats, notice)
