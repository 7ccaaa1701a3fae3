"""Every shipped algorithm on the same data, rounds and local epochs: accuracy, bytes and time.

    python scripts/algorithm_study.py [--preset small|full] [--out docs/results] [--only fedavg,fedmd] [--seeds 0]

They are those of configs/algorithms and that of configs/fashion_mnist.yaml, here called stacked_codistillation, whose
controls are the table's. The full preset is on Fashion-MNIST over three seeds; the small one is on digits. Runs are
done on the inline engine, one per core, each in a directory under --runs; finished ones are not repeated. What --only
and --seeds leave out appears in the tables if it was done before, each row with the seeds it has. Writes
algorithms.json, algorithms.csv and algorithms.png: accuracy after each round against the megabytes sent up by then.

"gap" is the share of the way from public_only (the server's labelled samples alone) to centralised (all private samples
in one place) that the student covers. "clients, own" are the clients' models on their own validation samples, which are
as skewed as their training samples: a personalised figure that no student should be compared with.
"""

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.shipped import config_names
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import PALETTE, Figure, new_figure
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, run_afresh, study_parser
from studies.tasks import Results

PRESETS: dict[str, dict[str, Any]] = {
    "full": {"seeds": (0, 1, 2), "overrides": ()},
    "small": {
        "seeds": (0,),
        "overrides": (
            "data.dataset=digits",
            "data.private_size=600",
            "data.public.size=300",
            "data.public.labelled=80",
            "data.public.round_size=null",
            "clients.count=4",
            "distillation.steps=40",
            "rounds=2",
        ),
    },
}
BASELINES = ("public_only", "centralised")
REFERENCE = "stacked_codistillation"
"""What the algorithm of configs/fashion_mnist.yaml is called here; its run has the controls, too."""


def algorithms() -> list[str]:
    """The names of the shipped algorithms, sorted."""
    named = [name.removeprefix("algorithms/") for name in config_names() if name.startswith("algorithms/")]
    return sorted([*named, REFERENCE])


def configured(preset: str, name: str, seed: int) -> ExperimentConfig:
    """The configuration of one run."""
    overrides = [*PRESETS[preset]["overrides"], f"seed={seed}", "engine.kind=inline", "clients.measure_test=true"]
    if name != REFERENCE:
        return load_config(f"configs/algorithms/{name}.yaml", overrides)
    return load_config("configs/fashion_mnist.yaml", [*overrides, f"controls=[{', '.join(BASELINES)}]"])


def run(runs: Path, preset: str, name: str, seed: int) -> dict[str, Any]:
    """One run's result; the run directory is kept."""
    log = run_afresh(configured(preset, name, seed), runs / preset / f"{name}-{seed}")
    summary = log.summary or {}
    return {
        "student": summary["student_accuracy"],
        "clients_own": summary["client_accuracy"],
        "clients_test": summary["client_test_accuracy"],
        **{key: summary[key] for key in ("controls", "traffic", "bytes_up", "bytes_down", "student_sha256")},
        "seconds": sum(log.seconds.values()),
        "by_round": [[row["student_accuracy"], row["bytes_up"], row["bytes_down"]] for row in log.rounds],
    }


def seeds_of(preset: str, name: str, results: Results) -> list[int]:
    """The seeds for which an algorithm, and what it is compared with, have been run."""
    needed = (name, "fedavg", REFERENCE)
    return [seed for seed in PRESETS[preset]["seeds"] if all((preset, each, seed) in results for each in needed)]


def summarise(preset: str, results: Results) -> list[dict[str, Any]]:
    """One row per algorithm: means with 95 % intervals over seeds; accuracies and gaps in per cent."""
    rows = [row_of(preset, name, seeds, results) for name in algorithms() if (seeds := seeds_of(preset, name, results))]
    return sorted(rows, key=lambda row: -row.get("student", (0.0, 0.0))[0])


def row_of(preset: str, name: str, seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """An algorithm's row; one without a model on the server lacks the columns that are about it."""
    found, fedavg, controls = ([results[preset, each, seed] for seed in seeds] for each in (name, "fedavg", REFERENCE))
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
        "seconds": float(np.median([run["seconds"] for run in found])),
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
            "clients, own": plus_minus(row["clients_own"]),
            "clients, test": plus_minus(row["clients_test"]),
            "MB up": f"{row['megabytes_up']:.2f}",
            "MB down": f"{row['megabytes_down']:.2f}",
            "s": f"{row['seconds']:.0f}",
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
    single = ("megabytes_up", "megabytes_down", "up_against_fedavg", "seconds")
    return cells | {key: f"{row[key]:.4g}" for key in single}


def draw(preset: str, rows: list[dict[str, Any]], bars: dict[str, tuple[float, float]], results: Results) -> Figure:
    """A line per algorithm, through its mean after each round."""
    figure = new_figure(9, 5.4)
    axes = figure.add_subplot()
    with_student = [row for row in rows if "student" in row]
    for index, row in enumerate(with_student):
        curves = [results[preset, row["name"], seed]["by_round"] for seed in row["seeds"]]
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


def stages(asked: Namespace) -> list[Stage]:
    """The chosen algorithms, what they are compared with, and the controls, seed by seed."""
    names = sorted({*asked.only.split(","), "fedavg", REFERENCE}) if asked.only else algorithms()
    seeds = asked.seeds or PRESETS[asked.preset]["seeds"]
    return [Stage("runs", run, [(asked.preset, name, seed) for seed in seeds for name in names])]


def reported(asked: Namespace, results: Results) -> Report:
    """Every algorithm that has been run with this preset."""
    preset, rows = asked.preset, summarise(asked.preset, results)
    controls = [results[preset, REFERENCE, seed]["controls"] for seed in seeds_of(preset, "fedavg", results)]
    bars = {name: _interval(_percent(controls, name)) for name in BASELINES}
    content = {
        "preset": preset,
        "rows": rows,
        "controls": bars,
        "runs": {f"{row['name']}-{seed}": results[preset, row["name"], seed] for row in rows for seed in row["seeds"]},
        "configs": {row["name"]: to_mapping(configured(preset, row["name"], row["seeds"][0])) for row in rows},
    }
    figures = {"": draw(preset, rows, bars, results)}
    return Report(content, table(rows, bars), csv=[*map(csv_row, rows)], figures=figures)


STUDY = Study("algorithms", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, STUDY.name, PRESETS)
    parser.add_argument(
        "--only", help="comma-separated names; fedavg and stacked_codistillation, with the controls, are always run"
    )
    return STUDY.carry_out(parser.parse_args(argv))
