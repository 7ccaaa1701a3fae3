"""Every shipped algorithm on the same data, rounds and local epochs: accuracy, bytes and time.

    python scripts/algorithm_study.py --tune [--preset small|full] [--only fedavg,fedmd]
    python scripts/algorithm_study.py [--preset small|full] [--out docs/results] [--only fedavg,fedmd] [--seeds 0]

They are those of configs/algorithms and that of configs/fashion_mnist.yaml, here called stacked_codistillation, whose
controls are the table's. The full preset is on Fashion-MNIST over three seeds; the small one is on digits. Runs are
done on the inline engine, one per core, each in a directory under --runs; finished ones are not repeated. What --only
and --seeds leave out appears in the tables if it was done before, each row with the seeds it has. Writes
algorithms.json, algorithms.csv and algorithms.png: accuracy after each round against the megabytes sent up by then.

--tune comes first: it tries four settings of each algorithm, the shipped one among them, on samples that are private or
test samples under none of the table's seeds, with a seed of its own, and chooses the best by accuracy on samples held
out for it. There are 8 times fewer private and 5 times fewer public samples than in the table, with as many optimiser
steps a round, and 4 rounds of 10, for all algorithms alike. It writes algorithms_tuning.json and configs/tuned, which
the full preset runs; the small one runs the algorithms as shipped unless --tuned names a folder.

With the full preset, tuning takes about an hour and a half of one core, the table about three.

"gap" is the share of the way from public_only (the server's labelled samples alone) to centralised (all private samples
in one place) that the student covers. "clients, own" are the clients' models on their own validation samples, which are
as skewed as their training samples: a personalised figure that no student should be compared with. Processor seconds
are those of a whole run, for stacked_codistillation with the controls.
"""

import hashlib
import json
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import studies.algorithms.tuning as tuning
from fedkd.config.load import load_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import RunError
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import PALETTE, Figure, new_figure
from studies.algorithms.settings import PRESETS, REFERENCE, SEARCH, shipped
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, run_afresh, study_parser
from studies.tasks import Results, Task

BASELINES = ("public_only", "centralised")


def configured(preset: str, tuned: Path | None, name: str, seed: int) -> ExperimentConfig:
    """The configuration of one run, as shipped or as in the folder of tuned ones; raises ``RunError`` without it."""
    source = shipped(name) if tuned is None else tuned / f"{name}.yaml"
    if not source.is_file():
        raise RunError(f"{source}: {name} has not been tuned; run --tune first")
    changes = {
        **PRESETS[preset].changes,
        "seed": seed,
        "engine.kind": "inline",
        "clients.measure_test": True,
        "controls": BASELINES if name == REFERENCE else (),
    }
    return load_config(source, values=changes)


def task_of(preset: str, tuned: Path | None, name: str, seed: int) -> Task:
    """A run's task, another one with other settings."""
    digest = hashlib.sha256(to_json(configured(preset, tuned, name, seed)).encode()).hexdigest()[:8]
    return preset, None if tuned is None else str(tuned), name, seed, digest


def run(runs: Path, preset: str, tuned: str | None, name: str, seed: int, digest: str) -> dict[str, Any]:
    """One run's result; the run directory is kept."""
    config, begun = configured(preset, None if tuned is None else Path(tuned), name, seed), time.process_time()
    log = run_afresh(config, runs / preset / f"{name}-{seed}-{digest}")
    summary = log.summary or {}
    return {
        "student": summary["student_accuracy"],
        "clients_own": summary["client_accuracy"],
        "clients_test": summary["client_test_accuracy"],
        **{key: summary[key] for key in ("controls", "traffic", "bytes_up", "bytes_down", "student_sha256")},
        "cpu_seconds": time.process_time() - begun,
        "by_round": [[row["student_accuracy"], row["bytes_up"], row["bytes_down"]] for row in log.rounds],
    }


Found = Mapping[tuple[str, int], Mapping[str, Any]]
"""Results by algorithm and seed."""


def finished(preset: str, tuned: Path | None, results: Results) -> Found:
    """What has been run with the configurations as they are now."""
    there = [name for name in sorted(SEARCH) if tuned is None or (tuned / f"{name}.yaml").is_file()]
    tasks = {(name, seed): task_of(preset, tuned, name, seed) for name in there for seed in PRESETS[preset].seeds}
    return {key: results[task] for key, task in tasks.items() if task in results}


def seeds_of(name: str, found: Found) -> list[int]:
    """The seeds for which an algorithm, and what it is compared with, have been run."""
    seeds = sorted({seed for _, seed in found})
    return [seed for seed in seeds if all((each, seed) in found for each in (name, "fedavg", REFERENCE))]


def summarise(found: Found) -> list[dict[str, Any]]:
    """One row per algorithm: means with 95 % intervals over seeds; accuracies and gaps in per cent."""
    rows = [row_of(name, seeds, found) for name in sorted(SEARCH) if (seeds := seeds_of(name, found))]
    return sorted(rows, key=lambda row: -row.get("student", (0.0, 0.0))[0])


def row_of(name: str, seeds: Sequence[int], results: Found) -> dict[str, Any]:
    """An algorithm's row; one without a model on the server lacks the columns that are about it."""
    found, fedavg, controls = ([results[each, seed] for seed in seeds] for each in (name, "fedavg", REFERENCE))
    megabytes = {way: float(np.mean([run[f"bytes_{way}"] for run in found])) / 1e6 for way in ("up", "down")}
    row: dict[str, Any] = {"name": name, "seeds": list(seeds)}
    if all(run["student"] is not None for run in found):
        student, theirs = _percent(found, "student"), _percent(fedavg, "student")
        low, high = (_percent([run["controls"] for run in controls], bar) for bar in BASELINES)
        row["student"] = _interval(student)
        row["over_fedavg"] = _interval(student - theirs)
        row["gap"] = _interval(100 * (student - low) / (high - low))
    return row | {
        "clients_own": _interval(_percent(found, "clients_own")),
        "clients_test": _interval(_percent(found, "clients_test")),
        "megabytes_up": megabytes["up"],
        "megabytes_down": megabytes["down"],
        "up_against_fedavg": megabytes["up"] / (float(np.mean([run["bytes_up"] for run in fedavg])) / 1e6),
        "cpu_seconds": float(np.median([run["cpu_seconds"] for run in found])),
    }


def _percent(runs: Iterable[Mapping[str, Any]], key: str) -> npt.NDArray[np.float64]:
    return np.array([100 * run[key] for run in runs])


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    return mean_and_ci(values.tolist())


def table(rows: list[dict[str, Any]], bars: dict[str, tuple[float, float]]) -> str:
    cells = [
        {
            "": row["name"],
            "seeds": str(len(row["seeds"])),
            "student": plus_minus(row.get("student")),
            "over fedavg": plus_minus(row.get("over_fedavg")),
            "gap %": plus_minus(row.get("gap")),
            "clients, test": plus_minus(row["clients_test"]),
            "clients, own": plus_minus(row["clients_own"]),
            "MB up": f"{row['megabytes_up']:.2f}",
            "MB down": f"{row['megabytes_down']:.2f}",
            "CPU s": f"{row['cpu_seconds']:.0f}",
        }
        for row in rows
    ]
    baselines = "; ".join(f"{name} {plus_minus(value)}" for name, value in bars.items())
    return f"mean ± 95 % CI over seeds\n{aligned(cells)}\n{baselines}"


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """The intervals as two columns each, empty where an algorithm has none, and the single figures."""
    cells = {"name": row["name"], "seeds": len(row["seeds"])}
    for key in ("student", "over_fedavg", "gap", "clients_own", "clients_test"):
        mean, half = row.get(key, (None, None))
        cells |= {key: "", f"{key}_ci95": ""} if mean is None else decimals(**{key: mean, f"{key}_ci95": half})
    single = ("megabytes_up", "megabytes_down", "up_against_fedavg", "cpu_seconds")
    return cells | {key: f"{row[key]:.4g}" for key in single}


def draw(rows: list[dict[str, Any]], bars: dict[str, tuple[float, float]], results: Found) -> Figure:
    """A line per algorithm, through its mean after each round."""
    figure = new_figure(9, 5.4)
    axes = figure.add_subplot()
    with_student = [row for row in rows if "student" in row]
    for index, row in enumerate(with_student):
        curves = [results[row["name"], seed]["by_round"] for seed in row["seeds"]]
        points = [point for point in np.mean(np.array(curves, dtype=np.float64), axis=0) if np.isfinite(point).all()]
        if len(points) < 2:
            continue
        accuracy, up, _ = np.array(points).T
        colour, line = PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"
        axes.plot(np.cumsum(up) / 1e6, 100 * accuracy, line, marker="o", markersize=3, color=colour, label=row["name"])
    for name, (mean, _) in bars.items():
        axes.axhline(mean, color="0.5", linewidth=1, linestyle=":")
        axes.annotate(name, (1, mean), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("megabytes that all clients together have sent (log scale)")
    axes.set_ylabel("student's test accuracy after each round (%)")
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right center", frameon=False)
    return figure


def names_of(asked: Namespace, *others: str) -> list[str]:
    """The algorithms of --only with others, or all; raises ``RunError`` for one that there is not."""
    names = {*asked.only.split(","), *others} if asked.only else set(SEARCH)
    if unknown := names - set(SEARCH):
        raise RunError(f"--only: must be algorithms, got {', '.join(sorted(unknown))}; there are {', '.join(SEARCH)}")
    return sorted(names)


def tuned_of(asked: Namespace) -> Path | None:
    """The folder of tuned configurations; None where algorithms run as shipped."""
    folder: Path | None = asked.tuned or PRESETS[asked.preset].tuned
    return folder


def stages(asked: Namespace) -> list[Stage]:
    """The chosen algorithms, what they are compared with, and the controls, seed by seed."""
    preset, tuned, names = asked.preset, tuned_of(asked), names_of(asked, "fedavg", REFERENCE)
    seeds = asked.seeds or PRESETS[preset].seeds
    return [Stage("runs", run, [task_of(preset, tuned, name, seed) for seed in seeds for name in names])]


def reported(asked: Namespace, results: Results) -> Report:
    """Every algorithm that has been run with this preset."""
    preset, tuned = asked.preset, tuned_of(asked)
    found = finished(preset, tuned, results)
    rows = summarise(found)
    controls = [found[REFERENCE, seed]["controls"] for seed in seeds_of("fedavg", found)]
    bars = {name: _interval(_percent(controls, name)) for name in BASELINES}
    content = {
        "preset": preset,
        "seeds": PRESETS[preset].seeds,
        "tuning_seeds": PRESETS[preset].tuning.seeds if tuned else (),
        "rows": rows,
        "controls": bars,
        "runs": {f"{row['name']}-{seed}": found[row["name"], seed] for row in rows for seed in row["seeds"]},
        "configs": {row["name"]: to_mapping(configured(preset, tuned, row["name"], row["seeds"][0])) for row in rows},
    }
    return Report(content, table(rows, bars), csv=[*map(csv_row, rows)], figures={"": draw(rows, bars, found)})


STUDY = Study("algorithms", stages, reported)
TUNING = Study(
    "algorithms_tuning",
    lambda asked: tuning.stages(asked.preset, names_of(asked)),
    lambda asked, results: tuning.report(asked.preset, results),
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, STUDY.name, PRESETS)
    parser.add_argument(
        "--only", help="comma-separated names; fedavg and stacked_codistillation run for the table, too"
    )
    parser.add_argument("--tune", action="store_true", help="choose each algorithm's setting instead")
    parser.add_argument("--tuned", type=Path, help="folder of tuned configurations (default: configs/tuned, if full)")
    asked = parser.parse_args(argv)
    if not asked.tune:
        return STUDY.carry_out(asked)
    if asked.seeds:
        parser.error("--seeds is for the table; tuning has seeds of its own")
    failed = TUNING.carry_out(asked)
    folder = tuned_of(asked)
    if not failed and folder is not None:
        found = json.loads((asked.out / f"{TUNING.name}.json").read_text(encoding="utf-8"))["algorithms"]
        tuning.write_configs(folder, {name: each["chosen"] for name, each in found.items()})
    return failed
