"""One experiment over several seeds: means with 95 % confidence intervals, and a plot of accuracy over rounds.

    python scripts/repeat.py configs/fashion_mnist.yaml --seeds 0,1,2 --out docs/results/fashion_mnist

Every seed has a run directory under --runs, as in `fedkd sweep`; finished ones are not run again, and what was
interrupted goes on. Writes OUT.json, OUT.csv and OUT.png.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.app.cli.sweep_console import SweepConsole
from fedkd.app.summary import versions
from fedkd.app.sweep import run_sweep
from fedkd.config.load import load_config, to_mapping
from fedkd.core.errors import RunError
from fedkd.core.files import write_json
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import new_figure, save

COLOURS = {"student": "#0072b2", "fedavg": "#d55e00", "centralised": "#555555", "public_only": "#009e73"}


def run_seeds(config: str, overrides: Sequence[str], seeds: Sequence[int], out: Path) -> dict[int, dict[str, Any]]:
    """Every seed's summary, with the student's accuracy after every round; raises ``FedkdError`` when a run fails."""
    with SweepConsole() as console:
        result = run_sweep(config, {}, seeds, out, overrides, console)
    if result.failed:
        raise RunError("\n".join(f"{each.cell.name}: {each.error}" for each in result.failed))
    return {each.cell.config.seed: _summary(each.log) for each in result.cells if each.log is not None}


def _summary(log: RunLog) -> dict[str, Any]:
    summary = dict(log.summary or {})
    student = [row["student_accuracy"] for row in log.rounds]
    history = {**summary["control_history"], "student": student}
    return summary | {"control_history": history, "round_seconds": sum(log.seconds.values())}


def summarise(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Means and half-widths of 95 % intervals over seeds, in per cent.

    Raises ``RunError`` for an algorithm without a student.
    """
    if any(run["student_accuracy"] is None for run in runs.values()):
        raise RunError("this algorithm has no model on the server to compare; see client_test_accuracy in summary.json")
    results: dict[str, list[float]] = {"student": [100 * run["student_accuracy"] for run in runs.values()]}
    for name in next(iter(runs.values()))["controls"]:
        results[name] = [100 * run["controls"][name] for run in runs.values()]
    leads = {
        name: mean_and_ci([ours - theirs for ours, theirs in zip(results["student"], values, strict=True)])
        for name, values in results.items()
        if name != "student"
    }
    curves: dict[str, list[list[float]]] = {}
    for run in runs.values():
        for name, history in run["control_history"].items():
            if len(history) > 1:
                curves.setdefault(name, []).append([100 * value for value in history])
    return {
        "accuracy": {name: {"mean_ci95": mean_and_ci(values), "values": values} for name, values in results.items()},
        "student_lead": leads,
        "by_round": {
            name: [mean_and_ci(column) for column in zip(*rows, strict=True)] for name, rows in curves.items()
        },
        "curves": curves,
        "megabytes_up": [run["bytes_up"] / 1e6 for run in runs.values()],
        "round_seconds": [run["round_seconds"] for run in runs.values()],
        "wall_seconds": [run["wall_seconds"] for run in runs.values()],
        "student_sha256": {seed: run["student_sha256"] for seed, run in runs.items()},
        "seeds": list(runs),
    }


def print_tables(report: dict[str, Any]) -> None:
    print(f"\n{'':14} {'test accuracy':>16} {'student leads by':>20}   ({len(report['seeds'])} seeds, 95 % CI)")
    for name, row in report["accuracy"].items():
        mean, interval = row["mean_ci95"]
        lead = "" if name == "student" else "{:+.2f} ± {:.2f}".format(*report["student_lead"][name])
        print(f"{name:14} {mean:8.2f} ± {interval:5.2f} {lead:>20}")
    student, fedavg = report["by_round"]["student"], report["by_round"].get("fedavg")
    if fedavg is not None:
        print(f"\n{'round':>6} {'student':>16} {'fedavg':>16}")
        for round in sorted({1, 3, 5, 10, len(student)}):
            if round <= len(student):
                pair = ("{:8.2f} ± {:5.2f}".format(*each[round - 1]) for each in (student, fedavg))
                print(f"{round:6} {'  '.join(pair)}")
    print(f"\nrounds alone, seconds per run: {', '.join(f'{value:.0f}' for value in report['round_seconds'])}")


def write_table(path: Path, report: dict[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "round", "accuracy", "ci95"])
        for name, rows in report["by_round"].items():
            writer.writerows(
                [name, index, f"{mean:.3f}", f"{ci:.3f}"] for index, (mean, ci) in enumerate(rows, start=1)
            )
        for name, row in report["accuracy"].items():
            writer.writerow([name, "final", *(f"{value:.3f}" for value in row["mean_ci95"])])


def draw(path: Path, report: dict[str, Any], title: str) -> None:
    """Accuracy over rounds: a thin line per seed, a thick one for the mean."""
    figure = new_figure(8, 4.6)
    axes = figure.add_subplot()
    for name, curves in report["curves"].items():
        colour = COLOURS.get(name)
        rounds = np.arange(1, len(curves[0]) + 1)
        axes.plot(rounds, np.array(curves).T, linewidth=0.8, alpha=0.45, color=colour)
        axes.plot(rounds, np.mean(curves, axis=0), linewidth=2.2, marker="o", markersize=3.5, label=name, color=colour)
    axes.set_xlabel("round")
    axes.set_ylabel("test accuracy (%)")
    axes.set_title(title, fontsize=10)
    lowest = min(
        min(map(min, report["curves"][name])) for name in ("student", "public_only") if name in report["curves"]
    )
    axes.set_ylim(lowest - 12, None)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, required=True, help="where the tables and the plot go, without ending")
    parser.add_argument("--runs", type=Path, help="run directories (default: runs/NAME-repeated)")
    arguments = parser.parse_args()
    runs = arguments.runs or Path("runs") / f"{Path(arguments.config).stem}-repeated"
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    report = summarise(run_seeds(arguments.config, arguments.overrides, seeds, runs)) | {"versions": versions()}
    report["config"] = to_mapping(load_config(arguments.config, arguments.overrides))
    write_json(arguments.out.with_suffix(".json"), report)
    write_table(arguments.out.with_suffix(".csv"), report)
    draw(arguments.out.with_suffix(".png"), report, f"{Path(arguments.config).stem}: {len(seeds)} seeds and their mean")
    print_tables(report)
    return 0
