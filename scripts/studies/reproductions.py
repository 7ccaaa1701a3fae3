"""Published results compared with fedkd's own: runs the configurations with a reference result, and says which agree.

    python scripts/reproduce.py [NAMES ...] [--seeds 0,1,2] [--finished] [--out docs/results]

A name is that of a configuration under configs/reproductions, or a YAML file of one's own with a ``reference`` block;
without names, all that are shipped are run, each over the seeds that it names unless --seeds says otherwise. Runs are
done on the inline engine, one per core, each in a directory under --runs, the first seed of all results before the
second of any; finished ones are not repeated unless their configuration has changed. With --finished nothing more is
run, and each result is told over the seeds that are finished.

Writes reproductions.json, .csv, .md and .png about the results that were named: the figure has accuracies by round. A
reference result is met if the mean over its seeds lies in its band; one that lies outside is a result and no error, and
one whose data are not on this machine is listed as not run.
"""

import hashlib
import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fedkd.config.load import load_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.shipped import config_names, config_path
from fedkd.core.errors import ConfigError, RunError
from fedkd.results.report.statistics import mean_and_ci
from studies.learning_curves import draw
from studies.reference_results import (
    LEADS,
    RATIOS,
    Found,
    ReferenceResult,
    absent_data,
    by_round,
    read_reference_result,
)
from studies.run_figures import figures_of
from studies.study import Report, Stage, Study, aligned, markdown_table, plus_minus, run_afresh, study_parser
from studies.tasks import Results, Task

FOLDER = "reproductions/"
MEASURES = {
    "student": "accuracy of the server's student on the test set",
    "clients_test": "mean test accuracy of the clients' models after local training",
    "clients_digested": "mean test accuracy of the clients' models, when they have digested what the server last said",
    "clients_own": "mean of the clients' accuracies on held-out samples of their own",
    "clients_own_pooled": "the clients' accuracy on held-out samples of their own, all samples together",
    "student_lead_over_fedavg": "the student's test accuracy less that of the same setting under FedAvg",
    "megabytes_up_ratio_to_fedavg": "bytes that clients send, as a share of those under FedAvg",
    "megabytes_up_ratio_to_float32": "bytes that clients send, as a share of those with logits as float32",
}
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
    return str(entry.path), entry.name, seed, everything, entry.reference.digests, digest[:12]


def run(
    runs: Path, path: str, name: str, seed: int, overrides: Sequence[str], digests: bool, digest: str
) -> dict[str, Any]:
    """What one run came to; the run directory is kept."""
    return figures_of(run_afresh(load_config(path, overrides), runs / f"{name}-{seed}-{digest}"), digests=digests)


def tasks_of(entry: Entry, seed: int) -> list[Task]:
    """The run itself, and the one it is compared with where its measure needs one."""
    baseline = entry.reference.baseline
    return [task_of(entry, seed), *([] if baseline is None else [task_of(entry, seed, baseline)])]


def report_row(entry: Entry, seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """Everything there is to say about a reference result."""
    reference = entry.reference
    row: dict[str, Any] = {"name": entry.name, **asdict(reference), "seeds": list(seeds)}
    row |= {"not_run": entry.not_run, "values": [], "mean": None, "ci95": None, "met": None, "beside": {}, "curves": {}}
    row["config"] = to_mapping(entry.config)
    if entry.not_run is not None:
        return row
    runs = [[results[task] for task in tasks_of(entry, seed)] for seed in seeds]
    try:
        row["values"] = [reference.measured(*found) for found in runs]
        beside = {
            measure: [reference.recent(by_round(measure, found[0])) for found in runs] for measure in reference.also
        }
    except RunError as error:
        return row | {"not_run": str(error)}
    mean, around = summarised(row["values"])
    row |= {"mean": mean, "ci95": around, "met": reference.met(mean)}
    row["beside"] = {measure: [*summarised(values)] for measure, values in beside.items()}
    row["curves"] = curves_of(reference, runs)
    return row


def summarised(values: Sequence[float]) -> tuple[float, float | None]:
    """A mean and the half-width of its interval, which a single seed does not have."""
    mean, around = mean_and_ci(values)
    return mean, around if math.isfinite(around) else None


def curves_of(reference: ReferenceResult, runs: Sequence[Sequence[Found]]) -> dict[str, list[list[float]]]:
    """What is to be seen of learning: the measure and what is beside it, for each seed after every round."""
    if reference.measure in RATIOS:
        return {}
    kinds: tuple[str, ...] = (reference.measure, *reference.also)
    shown = {kind: [by_round(kind, *found) for found in runs] for kind in kinds}
    if reference.measure in LEADS:
        shown["fedavg"] = [by_round("student", found[1]) for found in runs]
    return shown


def cells(row: dict[str, Any]) -> dict[str, str]:
    """What the table shows; a single seed has no interval."""
    form, unit = form_of(row["measure"])
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


def form_of(measure: str) -> tuple[str, str]:
    """How figures of a measure are written, and their unit."""
    if measure in RATIOS:
        return ".4g", ""
    return ("+.2f", " points") if measure in LEADS else (".2f", " %")


def outcome(row: dict[str, Any]) -> str:
    if row["not_run"] is not None:
        return f"no figure: {row['not_run']}"
    low, high = row["band"]
    if row["met"]:
        # What a mean with such an interval says of the band is little.
        return "in the band, by an interval wider than it" if 2 * (row["ci95"] or 0.0) > high - low else "met"
    return "above the band" if row["mean"] > high else "below the band"


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    low, high = row["band"]
    wide = row | {"seeds": len(row["values"]), "low": low, "high": high}
    return {column: wide[column] for column in COLUMNS}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table, and what there is to say of each result below it."""
    lines = [
        "# Published figures and ours",
        "",
        "Written by `scripts/reproduce.py`. Accuracies are in per cent, their differences in points; ratios are of",
        "bytes sent. A reference result is met if our mean over the seeds lies in the pass band, which was chosen",
        "before any run.",
        "",
        *markdown_table([cells(row) | {"reproduction": f"`{row['name']}`"} for row in rows]),
        "",
        "![Accuracies by round, with the published figures and the bands](reproductions.png)",
    ]
    for row in rows:
        lines += ["", f"## {row['name']}", "", f"Source: {row['source']}.", "", f"Measure: {MEASURES[row['measure']]}."]
        lines += ["", f"Pass band: {row['why']}.", ""]
        if row["beside"]:
            lines += [f"Beside it: {also(row['beside'])}.", ""]
        if row["remark"] is not None:
            lines += [f"Remark: {row['remark']}.", ""]
        differs = [f"- {item}" for item in row["differs"]]
        lines += ["What differs:", "", *differs] if differs else ["Nothing differs."]
    return "\n".join(lines) + "\n"


def also(beside: dict[str, Any]) -> str:
    """The other figures in words."""
    return "; ".join(
        f"{MEASURES[measure]}, {plus_minus((mean, math.inf if half is None else half))} %"
        for measure, (mean, half) in beside.items()
    )


def stages(asked: Namespace) -> list[Stage]:
    """All runs whose data are here, the first seed of every result before the second of any."""
    if asked.finished:
        return []
    entries = [entry for entry in read_entries(asked.names) if entry.not_run is None]
    by_entry = [[tasks_of(entry, seed) for seed in asked.seeds or entry.reference.seeds] for entry in entries]
    in_turn = [tasks for turn in zip_longest(*by_entry, fillvalue=()) for tasks in turn]
    return [Stage("runs", run, [task for tasks in in_turn for task in tasks])]


def reported(asked: Namespace, results: Results) -> Report:
    """A row for every reference result that was named."""
    rows = []
    for entry in read_entries(asked.names):
        seeds = asked.seeds or entry.reference.seeds
        if asked.finished and entry.not_run is None:
            seeds = [seed for seed in seeds if all(task in results for task in tasks_of(entry, seed))]
            entry = entry if seeds else replace(entry, not_run="no seed is finished")
        rows.append(report_row(entry, seeds, results))
    text, drawn = aligned([*map(cells, rows)]), [row for row in rows if row["curves"]]
    figures = {"": draw(drawn)} if drawn else {}
    return Report({"references": rows}, text, csv=[*map(csv_row, rows)], markdown=markdown(rows), figures=figures)


STUDY = Study("reproductions", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, STUDY.name)
    parser.add_argument("names", nargs="*", help="configurations with a reference result (default: all)")
    parser.add_argument(
        "--finished", action="store_true", help="run nothing, and report over the seeds that are finished"
    )
    return STUDY.carry_out(parser.parse_args(argv))
