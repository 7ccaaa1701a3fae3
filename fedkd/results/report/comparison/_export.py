"""Tables and figures as files that a paper takes in."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from fedkd.core.errors import ConfigError
from fedkd.core.files import replace_file, writing
from fedkd.core.wording import nearest, shown
from fedkd.results.report import tables
from fedkd.results.report.comparison._figures import FIGURES, Kind
from fedkd.results.report.comparison._groups import Group, Labelled, names_of
from fedkd.results.report.comparison._tables import all_tables
from fedkd.results.report.figures import Notice, attempt_figure
from fedkd.results.report.style import Figure, drawing, png, vector, why_empty

_FIGURE_WRITERS: Mapping[str, Callable[[Figure], bytes]] = {
    "svg": partial(vector, kind="svg"),
    "pdf": partial(vector, kind="pdf"),
    "png": png,
}
_HINT = f"tables come as {', '.join(tables.FORMATS)}, figures as {', '.join(_FIGURE_WRITERS)}"


def parse_formats(text: str, *, to_tables: bool, to_figures: bool) -> tuple[str, ...]:
    """``svg,pdf`` as a tuple.

    Raises ``ConfigError`` for what is no format, and where nothing is left of the tables or figures that are wanted.
    """
    wanted = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    problems = []
    for word in wanted:
        if word not in {**tables.FORMATS, **_FIGURE_WRITERS}:
            close = nearest(word, (*tables.FORMATS, *_FIGURE_WRITERS))
            problems.append(
                f"--format: there is no {shown(word)}; {f'did you mean {close!r}? ' if close else ''}{_HINT}"
            )
    for option, asked, known in (("--tables", to_tables, tables.FORMATS), ("--figures", to_figures, _FIGURE_WRITERS)):
        if asked and not problems and not set(wanted) & set(known):
            problems.append(f"--format: {shown(text)} leaves {option} nothing to write; {_HINT}")
    if problems:
        raise ConfigError(problems)
    return wanted


def write_tables(groups: Sequence[Group], folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write every table of the comparison into ``folder``, once for each of its ``formats``; return the paths.

    Raises ``RunError`` where they cannot be written.
    """
    paths = []
    for table in all_tables(groups):
        for ending in (each for each in formats if each in tables.FORMATS):
            text = tables.FORMATS[ending](table)
            paths.append(_write(folder / f"{table.name}.{ending}", text.encode("utf-8", "backslashreplace")))
    return paths


def write_figures(groups: Sequence[Group], folder: Path, formats: Sequence[str], notice: Notice) -> list[Path]:
    """Write every figure that shows something into ``folder``, for one column of a paper in two; return the paths.

    ``notice`` is told of figures that could not be drawn. Raises ``RunError`` where they cannot be written.
    """
    labelled = {label: group for label, group in names_of(groups).items() if group.runs}
    paths: list[Path] = []
    for name, kind in FIGURES.items():
        made: dict[str, bytes] = {}
        if attempt_figure(name, partial(_draw, kind, labelled, formats, made), notice):
            paths += [_write(folder / f"{name}.{ending}", content) for ending, content in made.items()]
    return paths


def _draw(kind: Kind, groups: Labelled, formats: Sequence[str], made: dict[str, bytes]) -> None:
    with drawing(narrow=True):
        figure = kind.draw(groups)
        if why_empty(figure) is None:
            made.update({each: write(figure) for each, write in _FIGURE_WRITERS.items() if each in formats})


def _write(path: Path, content: bytes) -> Path:
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, durable=False)
    return path
