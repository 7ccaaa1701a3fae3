"""Published results compared with fedkd's own: runs the configurations with a reference result, and says which agree.

    python scripts/reproduce.py [NAMES ...] [--seeds 0,1,2] [--out docs/results]

A name is that of a configuration under configs/reproductions, or a YAML file of one's own with a ``reference`` block;
without names, all that are shipped are run, each over the seeds that it names unless --seeds says otherwise. Runs are
done on the inline engine, one per core, each in a directory under --runs; finished ones are not repeated unless their
configuration has changed. Writes reproductions.json, .csv and .md about the results that were named. A reference result
is met if the mean over its seeds lies in its band; one that lies outside is a result and no error, and one whose data
are not on this machine is listed as not run.
"""

import hashlib
import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedkd.config.load import load_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.shipped import config_names, config_path
from fedkd.core.errors import ConfigError, RunError
from fedkd.results.report.statistics import mean_and_ci
from studies.reference_results import ACCURACIES, ReferenceResult, absent_data, read_reference_result
from studies.study import Report, Stage, Study, aligned, markdown_table, plus_minus, run_afresh, study_parser
from studies.tasks import Results, Task

FOLDER = "reproductions/"
COLUMNS = ("name", "measure", "published", "mean", "ci95", "seeds", "low", "high", "met", "not_run")


@dataclass(frozen=True)
class Entry:
    """A reference result, where it is, and why it cannot be run here (None: it can)."""

    name: str
    path: Path
    reference: ReferenceResult
    config: ExperimentConfig
    not_run: str | None


def shipped_reproductions() -> list[str]:
    """The names of the shipped configurations with a reference result, sorted."""
    return [name.removeprefix(FOLDER) for name in config_names() if name.startswith(FOLDER)]


def read_entries(names: Sequence[str]) -> list[Entry]:
    """The named reference results; raises ``ConfigError`` with the faults of all of them."""
    entries: list[Entry] = []
    problems: list[str] = []
    for name in dict.fromkeys(names or shipped_reproductions()):
        path = Path(name) if Path(name).is_file() else config_path(FOLDER + name.removesuffix(".yaml"))
        try:
            reference, config = read_reference_result(path)
        except ConfigError as error:
            problems.extend(error.problems)
            continue
        absent = " and ".join(absent_data(config))
        entries.append(Entry(path.stem, path, reference, config, f"{absent} not on this machine" if absent else None))
    stems = [entry.name for entry in entries]
    problems.extend(
        f"{name}: several files have this name; rename one" for name in sorted(set(stems)) if stems.count(name) > 1
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
    """One run's summary; the run directory is kept."""
    return dict(run_afresh(load_config(path, overrides), runs / f"{name}-{seed}-{digest}").summary or {})


def tasks_of(entry: Entry, seed: int) -> list[Task]:
    """The run itself, and the one it is compared with where its measure needs one."""
    baseline = entry.reference.baseline
    return [task_of(entry, seed), *([] if baseline is None else [task_of(entry, seed, baseline)])]


def report_row(entry: Entry, seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """Everything there is to say about a reference result."""
    row: dict[str, Any] = {"name": entry.name, **asdict(entry.reference), "seeds": list(seeds)}
    row |= {"not_run": entry.not_run, "values": [], "mean": None, "ci95": None, "met": None}
    row["config"] = to_mapping(entry.config)
    if entry.not_run is not None:
        return row
    try:
        row["values"] = [entry.reference.measured(*(results[task] for task in tasks_of(entry, seed))) for seed in seeds]
    except RunError as error:
        return row | {"not_run": str(error)}
    mean, around = mean_and_ci(row["values"])
    row |= {"mean": mean, "ci95": around if math.isfinite(around) else None, "met": entry.reference.met(mean)}
    return row


def cells(row: dict[str, Any]) -> dict[str, str]:
    """What the table shows; a single seed has no interval."""
    form, unit = (".2f", " %") if row["measure"] in ACCURACIES else (".4g", "")
    ours = None if row["mean"] is None else (row["mean"], math.inf if row["ci95"] is None else row["ci95"])
    low, high = row["band"]
    return {
        "reproduction": row["name"],
        "setting": row["title"],
        "published": f"{row['published']:{form}}{unit}",
        "ours (95 % CI)": plus_minus(ours, form) + (unit if ours else ""),
        "seeds": str(len(row["values"])),
        "pass band": f"{low:.4g} to {high:.4g}",
        "result": outcome(row),
    }


def outcome(row: dict[str, Any]) -> str:
    if row["not_run"] is not None:
        return f"no figure: {row['not_run']}"
    if row["met"]:
        return "met"
    return "above the band" if row["mean"] > row["band"][1] else "below the band"


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    low, high = row["band"]
    wide = row | {"seeds": len(row["values"]), "low": low, "high": high}
    return {column: wide[column] for column in COLUMNS}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table, and what differs from the published setting below it."""
    lines = [
        "# Published figures and ours",
        "",
        "Written by `scripts/reproduce.py`. Accuracies are test accuracies after the last round; ratios are of bytes",
        "sent. A reference result is met if our mean over the seeds lies in the pass band, which was chosen before any",
        "run.",
        "",
        *markdown_table([cells(row) | {"reproduction": f"`{row['name']}`"} for row in rows]),
    ]
    for row in rows:
        lines += ["", f"## {row['name']}", "", f"Source: {row['source']}.", "", f"Pass band: {row['why']}.", ""]
        differs = [f"- {item}" for item in row["differs"]]
        lines += ["What differs:", "", *differs] if differs else ["Nothing differs."]
    return "\n".join(lines) + "\n"


def stages(asked: Namespace) -> list[Stage]:
    """All runs whose data are here."""
    entries = [entry for entry in read_entries(asked.names) if entry.not_run is None]
    return [
        Stage(
            "runs",
            run,
            [
                task
                for entry in entries
                for seed in asked.seeds or entry.reference.seeds
                for task in tasks_of(entry, seed)
            ],
        )
    ]


def reported(asked: Namespace, results: Results) -> Report:
    """A row for every reference result that was named."""
    rows = [report_row(entry, asked.seeds or entry.reference.seeds, results) for entry in read_entries(asked.names)]
    text = aligned([*map(cells, rows)])
    return Report({"references": rows}, text, csv=[*map(csv_row, rows)], markdown=markdown(rows))


STUDY = Study("reproductions", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, STUDY.name)
    parser.add_argument("names", nargs="*", help="configurations with a reference result (default: all)")
    return STUDY.carry_out(parser.parse_args(argv))
