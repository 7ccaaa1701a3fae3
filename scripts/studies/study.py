"""The frame of every study: its command line, its tasks in stages, and the files that say what it found."""

import argparse
import csv
import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkd.app.run import run_experiment
from fedkd.app.summary import versions
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import FedkdError
from fedkd.core.files import write_json
from fedkd.results.report.figures import SWITCH
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.style import Axes, AxesImage, Figure, drawing, save
from studies.tasks import Results, Task, run_tasks, worker_pool


@dataclass(frozen=True)
class Stage:
    """Tasks that need nothing of one another, ``function(runs, *task)`` each; ``runs`` is the folder of ``--runs``."""

    title: str
    function: Callable[..., Any]
    tasks: Iterable[Task]


@dataclass(frozen=True)
class Report:
    """What a study found: ``content`` for JSON, ``text`` for the terminal, and tables and figures as there are.

    ``csv`` has its rows by column. ``figures`` are by what is appended to the study's name.
    """

    content: Mapping[str, Any]
    text: str
    csv: Sequence[Mapping[str, Any]] = ()
    markdown: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def write(self, folder: Path, name: str) -> None:
        """Write the files, all called ``name``, into the folder, and print the text."""
        write_json(folder / f"{name}.json", {**self.content, "versions": versions()})
        if self.csv:
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(self.csv[0]))
                writer.writeheader()
                writer.writerows(self.csv)
        if self.markdown:
            (folder / f"{name}.md").write_text(self.markdown, encoding="utf-8")
        for suffix, figure in self.figures.items():
            save(figure, folder / f"{name}{suffix}.png")
        print(self.text)


@dataclass(frozen=True)
class Study:
    """Stages of tasks, and the report on their results, both as the parsed command line asks for."""

    name: str
    stages: Callable[[argparse.Namespace], Iterable[Stage]]
    report: Callable[[argparse.Namespace, Results], Report]

    def carry_out(self, arguments: argparse.Namespace) -> int:
        """Do what is left to do, and write the report; 1 when that fails with a ``FedkdError``, which is printed."""
        # Of single runs, here and in all processes: a study has figures of its own.
        os.environ.setdefault(SWITCH, "0")
        try:
            results = Results(arguments.runs / "results.jsonl")
            with worker_pool(arguments.workers) as pool:
                for stage in self.stages(arguments):
                    run_tasks(partial(stage.function, arguments.runs), stage.tasks, results, pool, title=stage.title)
            with drawing():
                self.report(arguments, results).write(arguments.out, self.name)
        except FedkdError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
        return 0


def study_parser(about: str | None, name: str, presets: Iterable[str] = ()) -> argparse.ArgumentParser:
    """The options of every study; ``--preset`` where there are any."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if presets:
        parser.add_argument("--preset", choices=sorted(presets), default="small")
    parser.add_argument("--seeds", type=seed_list, help="with commas in between (default: all of the study)")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder for the tables and figures")
    parser.add_argument("--runs", type=Path, default=Path("runs") / name, help="folder for what is finished")
    parser.add_argument("--workers", type=int, help="tasks at a time (default: one per core)")
    return parser


def seed_list(text: str) -> list[int]:
    """Seeds with commas in between, as the value of an option."""
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers with commas in between, such as 0,1,2; got {text!r}"
        ) from None
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"must be different numbers from 0 up, got {text!r}")
    return seeds


def run_afresh(config: ExperimentConfig, out: Path) -> RunLog:
    """Run an experiment, without what an interrupted attempt left behind, and read what it wrote."""
    shutil.rmtree(out, ignore_errors=True)
    run_experiment(config, out)
    return RunLog.read(out)


def plus_minus(value: Sequence[float] | None, form: str = ".2f") -> str:
    """A mean and the half-width of its interval, which a single value does not have; a dash for no value."""
    if value is None:
        return "–"
    mean, half = value
    return f"{mean:{form}}" + (f" ± {half:{form.lstrip('+')}}" if np.isfinite(half) else "")


def decimals(**values: float) -> dict[str, str]:
    """Cells of a CSV by column."""
    return {name: f"{value:.3f}" for name, value in values.items()}


def aligned(rows: Sequence[Mapping[str, str]]) -> str:
    """The cells by column as text, each column as wide as its widest cell."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def markdown_table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The lines of a table in Markdown with these cells by column."""
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    head, *body = ("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)
    return [head, f"|{'---|' * len(cells[0])}", *body]


def heat_map(
    axes: Axes,
    values: npt.NDArray[np.float64],
    columns: Sequence[str],
    rows: Sequence[str],
    *,
    bold: Collection[tuple[int, ...]] = (),
    **colours: Any,
) -> AxesImage:
    """Numbers on coloured fields, ``colours`` as ``imshow`` takes them; ``bold`` has the rows and columns of some."""
    image = axes.imshow(values, aspect="auto", **colours)
    for at, value in np.ndenumerate(values):
        weight = "bold" if at in bold else "normal"
        axes.text(at[1], at[0], f"{value:.1f}", ha="center", va="center", fontsize=8, fontweight=weight)
    axes.set_xticks(range(len(columns)), [name.replace(" ", "\n") for name in columns], fontsize=7)
    axes.set_yticks(range(len(rows)), rows)
    return image
