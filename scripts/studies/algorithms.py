"""Every algorithm of configs/algorithms on the same data, rounds and local epochs: accuracy, bytes and time.

    python scripts/algorithm_study.py [--preset small|full] [--out docs/results] [--only fedavg,fedmd] [--seeds 0]

The full preset is the experiment of configs/fashion_mnist.yaml over three seeds; the small one is on digits. Runs are
done on the inline engine, one per core, each in a directory under --runs; finished ones are not done again. What --only
and --seeds leave out appears in the tables if it was done before, each row with the seeds it has. Writes
algorithms.json, algorithms.csv and algorithms.png: accuracy after each round against the megabytes sent up by then.

"gap" is the share of the way from public_only (the server's labelled samples alone) to centralised (all private samples
in one place) that the student covers. "clients, own" are the clients' models on their own validation samples, which are
as skewed as their training samples: a personalised figure that no student should be compared with.
"""

import argparse
import csv
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console as RichConsole
from rich.progress import Progress
from rich.table import Table

from fedkd.app.run import run_experiment
from fedkd.app.summary import versions
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.shipped import config_names
from fedkd.core.files import write_json
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import PALETTE, new_figure, save
from studies.tasks import Results, run_tasks

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
CONTROLS = "controls"
"""The name under which the reference experiment's controls are run, without an algorithm of their own."""


def algorithms() -> list[str]:
    """The names of the shipped algorithms, sorted."""
    return [name.removeprefix("algorithms/") for name in config_names() if name.startswith("algorithms/")]


def configured(preset: str, name: str, seed: int) -> ExperimentConfig:
    """The configuration of one run."""
    overrides = [*PRESETS[preset]["overrides"], f"seed={seed}", "engine.kind=inline"]
    if name != CONTROLS:
        return load_config(f"configs/algorithms/{name}.yaml", overrides)
    return load_config("configs/fashion_mnist.yaml", [*overrides, "controls=[public_only, centralised]"])


def run(runs: Path, preset: str, name: str, seed: int) -> dict[str, Any]:
    """One run's result; the run directory stays behind."""
    out = runs / preset / f"{name}-{seed}"
    # What an interrupted attempt left behind is of no use: there is nothing to choose from it.
    shutil.rmtree(out, ignore_errors=True)
    run_experiment(configured(preset, name, seed), out)
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
    timings = [json.loads(line) for line in (out / "timings.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "student": summary["student_accuracy"],
        "clients_own": summary["client_accuracy"],
        "clients_test": summary["client_test_accuracy"],
        "controls": summary["controls"],
        "traffic": summary["traffic"],
        "bytes_up": summary["bytes_up"],
        "bytes_down": summary["bytes_down"],
        "seconds": sum(row["seconds"] for row in timings),
        "by_round": [[row["student_accuracy"], row["bytes_up"], row["bytes_down"]] for row in rounds],
        "student_sha256": summary["student_sha256"],
    }


def seeds_of(preset: str, name: str, results: Results) -> list[int]:
    """The seeds for which an algorithm, and what it is compared with, have been run."""
    needed = (name, "fedavg", CONTROLS)
    return [seed for seed in PRESETS[preset]["seeds"] if all((preset, each, seed) in results for each in needed)]


def summarise(preset: str, results: Results) -> list[dict[str, Any]]:
    """One row per algorithm: means with 95 % intervals over seeds; accuracies and gaps in per cent."""
    rows = []
    for name in algorithms():
        if not (seeds := seeds_of(preset, name, results)):
            continue
        bars = [results[preset, CONTROLS, seed]["controls"] for seed in seeds]
        found = [results[preset, name, seed] for seed in seeds]
        fedavg = [results[preset, "fedavg", seed] for seed in seeds]
        students = [row["student"] for row in found]
        row: dict[str, Any] = {"name": name, "seeds": seeds}
        if None not in students:
            row["student"] = mean_and_ci([100 * value for value in students])
            row["over_fedavg"] = mean_and_ci(
                [100 * (ours["student"] - theirs["student"]) for ours, theirs in zip(found, fedavg, strict=True)]
            )
            row["gap"] = mean_and_ci(
                [
                    100 * (value - bar["public_only"]) / (bar["centralised"] - bar["public_only"])
                    for value, bar in zip(students, bars, strict=True)
                ]
            )
        for key in ("clients_own", "clients_test"):
            row[key] = mean_and_ci([100 * run[key] for run in found])
        row["megabytes_up"] = float(np.mean([run["bytes_up"] for run in found])) / 1e6
        row["megabytes_down"] = float(np.mean([run["bytes_down"] for run in found])) / 1e6
        row["up_against_fedavg"] = row["megabytes_up"] / (np.mean([run["bytes_up"] for run in fedavg]) / 1e6)
        row["seconds"] = float(np.median([run["seconds"] for run in found]))
        rows.append(row)
    return sorted(rows, key=lambda row: -row.get("student", (0.0, 0.0))[0])


def print_table(rows: list[dict[str, Any]], bars: dict[str, tuple[float, float]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), title="mean ± 95 % CI over seeds", title_justify="left")
    for title in (
        "",
        "seeds",
        "student",
        "over fedavg",
        "gap %",
        "clients, own",
        "clients, test",
        "MB up",
        "MB down",
        "s",
    ):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            str(len(row["seeds"])),
            *(shown(row.get(key)) for key in ("student", "over_fedavg", "gap", "clients_own", "clients_test")),
            f"{row['megabytes_up']:.2f}",
            f"{row['megabytes_down']:.2f}",
            f"{row['seconds']:.0f}",
        )
    screen = RichConsole(width=140)
    screen.print(table)
    screen.print("; ".join(f"{name} {shown(value)}" for name, value in bars.items()))


def shown(value: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value[0]:.2f}" if np.isinf(value[1]) else f"{value[0]:.2f} ± {value[1]:.2f}"


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    pairs = ("student", "over_fedavg", "gap", "clients_own", "clients_test")
    single = ("megabytes_up", "megabytes_down", "up_against_fedavg", "seconds")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "seeds", *(column for key in pairs for column in (key, f"{key}_ci95")), *single])
        for row in rows:
            cells = [f"{part:.3f}" if key in row else "" for key in pairs for part in row.get(key, (0.0, 0.0))]
            writer.writerow([row["name"], len(row["seeds"]), *cells, *(f"{row[key]:.4g}" for key in single)])


def draw(
    path: Path, preset: str, rows: list[dict[str, Any]], bars: dict[str, tuple[float, float]], results: Results
) -> None:
    """A line per algorithm, through its mean after each round."""
    figure = new_figure(9, 5.4)
    axes = figure.add_subplot()
    with_student = [row["name"] for row in rows if "student" in row]
    for index, name in enumerate(with_student):
        curves = [results[preset, name, seed]["by_round"] for seed in seeds_of(preset, name, results)]
        points = [point for point in np.mean(np.array(curves, dtype=np.float64), axis=0) if np.isfinite(point).all()]
        if len(points) < 2:
            continue
        accuracy, up, _ = np.array(points).T
        colour, line = PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"
        axes.plot(np.cumsum(up) / 1e6, 100 * accuracy, line, marker="o", markersize=3, color=colour, label=name)
    for name, (mean, _) in bars.items():
        axes.axhline(mean, color="0.5", linewidth=1, linestyle=":")
        axes.annotate(name, (1, mean), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("megabytes that all clients together have sent (log scale)")
    axes.set_ylabel("student's test accuracy after each round (%)")
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right center", frameon=False)
    save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--runs", type=Path, default=Path("runs/algorithms"))
    parser.add_argument("--only", help="comma-separated names; fedavg, which all are compared with, is always run")
    parser.add_argument("--seeds", help="comma-separated seeds of the preset (default: all)")
    parser.add_argument("--workers", type=int, help="runs at a time (default: one per core)")
    arguments = parser.parse_args()
    preset = arguments.preset
    names = sorted({*arguments.only.split(","), "fedavg"}) if arguments.only else algorithms()
    seeds = [int(seed) for seed in arguments.seeds.split(",")] if arguments.seeds else PRESETS[preset]["seeds"]
    results = Results(arguments.runs / "results.jsonl")
    tasks = [(preset, name, seed) for seed in seeds for name in [CONTROLS, *names]]
    with Progress(console=RichConsole(stderr=True)) as bar:
        shown_bar = bar.add_task("runs", total=sum(task not in results for task in tasks))
        run_tasks(
            partial(run, arguments.runs),
            tasks,
            results,
            workers=arguments.workers,
            progress=lambda done, total: bar.update(shown_bar, completed=done),
        )
    rows = summarise(preset, results)
    found = [results[preset, CONTROLS, seed]["controls"] for seed in seeds_of(preset, "fedavg", results)]
    bars = {name: mean_and_ci([100 * run[name] for run in found]) for name in ("public_only", "centralised")}
    report = {
        "preset": preset,
        "rows": rows,
        "controls": bars,
        "runs": {f"{row['name']}-{seed}": results[preset, row["name"], seed] for row in rows for seed in row["seeds"]},
        "configs": {row["name"]: to_mapping(configured(preset, row["name"], row["seeds"][0])) for row in rows},
        "versions": versions(),
    }
    write_json(arguments.out / "algorithms.json", report)
    write_csv(arguments.out / "algorithms.csv", rows)
    draw(arguments.out / "algorithms.png", preset, rows, bars, results)
    print_table(rows, bars)
    return 0
