"""Published figures held against fedkd's own: runs the reproduction cards and says which are met.

    python scripts/reproduce.py [NAMES ...] [--seeds 0,1,2] [--out docs/results]

A name is that of a card under configs/reproductions, or a YAML file with a card of one's own; without names, all that
are shipped are run, each over the seeds that it names unless --seeds says otherwise. Runs are done on the inline
engine, one per core, each in a directory under --runs; finished ones are not done again unless their configuration has
changed. Writes reproductions.json, .csv and .md about the cards that were named. A card is met if the mean over its
seeds lies in its band; one that lies outside is a result and no error, and one whose data are not on this machine is
listed as not run.
"""

import argparse
import csv
import hashlib
import json
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import Progress
from rich.table import Table

from fedkd.app.run import run_experiment
from fedkd.app.summary import versions
from fedkd.config.load import load_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.shipped import config_names, config_path
from fedkd.core.errors import ConfigError, FedkdError, RunError
from fedkd.core.files import write_json
from fedkd.results.report.statistics import mean_and_ci
from studies.reference_results import ACCURACIES, Card, absent_data, read_card
from studies.tasks import Results, Task, run_tasks

FOLDER = "reproductions/"
COLUMNS = ("name", "measure", "published", "mean", "ci95", "seeds", "low", "high", "met", "not_run")


@dataclass(frozen=True)
class Entry:
    """A card, where it is, and why it cannot be run here (None: it can)."""

    name: str
    path: Path
    card: Card
    config: ExperimentConfig
    not_run: str | None


def shipped_cards() -> list[str]:
    """The names of the shipped cards, sorted."""
    return [name.removeprefix(FOLDER) for name in config_names() if name.startswith(FOLDER)]


def read_entries(names: Sequence[str]) -> list[Entry]:
    """The named cards; raises ``ConfigError`` with the faults of all of them."""
    entries: list[Entry] = []
    problems: list[str] = []
    for name in dict.fromkeys(names):
        path = Path(name) if Path(name).is_file() else config_path(FOLDER + name.removesuffix(".yaml"))
        try:
            card, config = read_card(path)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        absent = " and ".join(absent_data(config))
        entries.append(Entry(path.stem, path, card, config, f"{absent} not on this machine" if absent else None))
    stems = [entry.name for entry in entries]
    problems.extend(
        f"{name}: several cards have this name; rename one" for name in sorted(set(stems)) if stems.count(name) > 1
    )
    if problems:
        raise ConfigError(problems)
    return entries


def task_of(entry: Entry, seed: int, overrides: Sequence[str] = ()) -> Task:
    """What ``run`` is called with; the digest makes it another task when the configuration has changed."""
    everything = (f"seed={seed}", "engine.kind=inline", *overrides)
    digest = hashlib.sha256(to_json(load_config(entry.path, everything)).encode()).hexdigest()
    return str(entry.path), entry.name, seed, everything, digest[:12]


def run(runs: Path, path: str, name: str, seed: int, overrides: Sequence[str], digest: str) -> dict[str, Any]:
    """One run's summary; the run directory stays behind."""
    out = runs / f"{name}-{seed}-{digest}"
    # What an interrupted attempt left behind is of no use: there is nothing to choose from it.
    shutil.rmtree(out, ignore_errors=True)
    run_experiment(load_config(path, overrides), out)
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return summary


def seeds_of(entry: Entry, chosen: Sequence[int] | None) -> tuple[int, ...]:
    return entry.card.seeds if chosen is None else tuple(chosen)


def tasks_of(entry: Entry, seed: int) -> list[Task]:
    """The run itself, and the one it is compared with where its measure needs one."""
    return [task_of(entry, seed), *([] if entry.card.baseline is None else [task_of(entry, seed, entry.card.baseline)])]


def report_row(entry: Entry, seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """Everything there is to say about a card."""
    row: dict[str, Any] = {"name": entry.name, **asdict(entry.card), "seeds": list(seeds), "not_run": entry.not_run}
    row |= {"values": [], "mean": None, "ci95": None, "met": None, "config": to_mapping(entry.config)}
    if entry.not_run is not None:
        return row
    try:
        row["values"] = [entry.card.measured(*(results[task] for task in tasks_of(entry, seed))) for seed in seeds]
    except RunError as error:
        return row | {"not_run": str(error)}
    mean, around = mean_and_ci(row["values"])
    row |= {"mean": mean, "ci95": around if math.isfinite(around) else None, "met": entry.card.met(mean)}
    return row


def figure(row: dict[str, Any], value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f} %" if row["measure"] in ACCURACIES else f"{value:.4g}"


def ours(row: dict[str, Any]) -> str:
    """The mean with its interval, which a single seed does not have."""
    mean = figure(row, row["mean"])
    if row["ci95"] is None:
        return mean
    return f"{row['mean']:.2f} ± {row['ci95']:.2f} %" if row["measure"] in ACCURACIES else f"{mean} ± {row['ci95']:.1g}"


def band(row: dict[str, Any]) -> str:
    low, high = row["band"]
    return f"{low:.4g} to {high:.4g}"


def verdict(row: dict[str, Any]) -> str:
    if row["not_run"] is not None:
        return f"no figure: {row['not_run']}"
    if row["met"]:
        return "met"
    return "above the band" if row["mean"] > row["band"][1] else "below the band"


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("card", "setting", "published", "ours (95 % CI)", "seeds", "pass band", ""):
        table.add_column(title)
    for row in rows:
        published = figure(row, row["published"])
        table.add_row(row["name"], row["title"], published, ours(row), str(len(row["values"])), band(row), verdict(row))
    RichConsole(width=160).print(table)


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in rows:
            low, high = row["band"]
            writer.writerow(row | {"seeds": len(row["values"]), "low": low, "high": high})


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table, and what differs from the published setting below it."""
    lines = [
        "# Published figures and ours",
        "",
        "Written by `scripts/reproduce.py`. Accuracies are test accuracies after the last round; ratios are of bytes",
        "sent. A card is met if our mean over the seeds lies in the pass band, which was chosen before any run.",
        "",
        "| card | setting | published | ours (95 % CI) | seeds | pass band | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            f"`{row['name']}`", row["title"], figure(row, row["published"]), ours(row), len(row["values"]), band(row),
            verdict(row),
        )  # fmt: skip
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    for row in rows:
        lines += ["", f"## {row['name']}", "", f"Source: {row['source']}.", "", f"Pass band: {row['why']}.", ""]
        lines += (
            ["What differs:", "", *(f"- {item}" for item in row["differs"])] if row["differs"] else ["Nothing differs."]
        )
    return "\n".join(lines) + "\n"


def reproduce(names: Sequence[str], seeds: Sequence[int] | None, out: Path, runs: Path, workers: int | None) -> None:
    entries = read_entries(names or shipped_cards())
    results = Results(runs / "results.jsonl")
    tasks = [
        task
        for entry in entries
        if entry.not_run is None
        for seed in seeds_of(entry, seeds)
        for task in tasks_of(entry, seed)
    ]
    with Progress(console=RichConsole(stderr=True)) as progress:
        bar = progress.add_task("runs", total=sum(task not in results for task in tasks))
        run_tasks(
            partial(run, runs),
            tasks,
            results,
            workers=workers,
            progress=lambda done, total: progress.update(bar, completed=done),
        )
    rows = [report_row(entry, seeds_of(entry, seeds), results) for entry in entries]
    write_json(out / "reproductions.json", {"cards": rows, "versions": versions()})
    write_csv(out / "reproductions.csv", rows)
    (out / "reproductions.md").write_text(markdown(rows), encoding="utf-8")
    print_table(rows)


def seed_list(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers with commas in between, such as 0,1,2; got {text!r}"
        ) from None
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"must be different numbers from 0 up, got {text!r}")
    return seeds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="cards (default: all)")
    parser.add_argument("--seeds", type=seed_list, help="with commas (default: those that each card names)")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--runs", type=Path, default=Path("runs/reproductions"))
    parser.add_argument("--workers", type=int, help="runs at a time (default: one per core)")
    arguments = parser.parse_args()
    try:
        reproduce(arguments.names, arguments.seeds, arguments.out, arguments.runs, arguments.workers)
    except FedkdError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
