"""What is written for a paper: in which formats, and every figure for one of its columns."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from fedkd.core.errors import ConfigError
from fedkd.core.files import replace_file, writing
from fedkd.core.wording import nearest, shown
from fedkd.results.report import tables
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


def write_figures(
    figures: Mapping[str, Callable[[], Figure]], folder: Path, formats: Sequence[str], notice: Notice
) -> list[Path]:
    """Write every figure that shows something into ``folder``, for one column of a paper in two; return the paths.

    ``figures`` are what draws them, by name; ``notice`` is told of those that could not be drawn. Raises ``RunError``
    where they cannot be written.
    """
    paths: list[Path] = []
    for name, draw in figures.items():
        made: dict[str, bytes] = {}
        if attempt_figure(name, partial(_draw, draw, formats, made), notice):
            paths += [write_file(folder / f"{name}.{ending}", content) for ending, content in made.items()]
    return paths


def write_file(path: Path, content: bytes) -> Path:
    """Write a file whose folder may be missing; return its path. Raises ``RunError``."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content, durable=False)
    return path


def _draw(draw: Callable[[], Figure], formats: Sequence[str], made: dict[str, bytes]) -> None:
    with drawing(narrow=True):
        figure = draw()
        if why_empty(figure) is None:
            made.update({each: write(figure) for each, write in _FIGURE_WRITERS.items() if each in formats})
