"""One experiment over several seeds: means with 95 % confidence intervals, and a plot of accuracy over rounds.

    python scripts/repeat.py configs/fashion_mnist.yaml --seeds 0,1,2,3,4 --out docs/results/fashion_mnist \
        --rival 'λ = 1: distillation.balancer={name: fixed, value: 1}'

Every seed has a run directory under --runs, as in `fedkd sweep`; finished ones are not run again, and an interrupted
one is resumed. Writes OUT.json, OUT.csv and OUT.png.

A rival is the same experiment with other settings, over the same seeds. "gap_closed" is how far the student is on the
way from public_only to centralised, in per cent seed by seed, where that is a way up in every seed;
"gap_closed_points" is the same in points.
"""

import argparse
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.app.cli.sweep_console import SweepConsole
from fedkd.app.sweep import run_sweep
from fedkd.config.load import load_config, to_mapping
from fedkd.core.errors import RunError
from fedkd.results.report.run_log import RunLog
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import Figure, drawing, new_figure
from studies.study import Report, aligned, decimals, plus_minus, seed_list

COLOURS = {"student": "#0072b2", "fedavg": "#d55e00", "centralised": "#555555", "public_only": "#009e73"}
OTHER_COLOURS = ("#aa4499", "#e69f00", "#56b4e9")


Runs = dict[int, dict[str, Any]]
"""By seed, a run's summary, with the student's accuracy after every round."""


def run_seeds(config: str, overrides: Sequence[str], seeds: Sequence[int], out: Path) -> Runs:
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


def with_rival(runs: Runs, name: str, rivals: Runs) -> Runs:
    """The runs with a rival's student among their controls."""
    found = {}
    for seed, run in runs.items():
        rival = rivals[seed]
        history = run["control_history"] | {name: rival["control_history"]["student"]}
        controls = run["controls"] | {name: rival["student_accuracy"]}
        found[seed] = run | {"controls": controls, "control_history": history}
    return found


def summarise(runs: Runs) -> dict[str, Any]:
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
        **_gap_closed(results),
        **{f"megabytes_{way}": [run[f"bytes_{way}"] / 1e6 for run in runs.values()] for way in ("up", "down")},
        "round_seconds": [run["round_seconds"] for run in runs.values()],
        "wall_seconds": [run["wall_seconds"] for run in runs.values()],
        "student_sha256": {seed: run["student_sha256"] for seed, run in runs.items()},
        "seeds": list(runs),
    }


def _gap_closed(results: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """How far the student is on the way from public_only to centralised, where a run has both."""
    if not {"public_only", "centralised"} <= results.keys():
        return {}
    student, low, high = (np.array(results[name]) for name in ("student", "public_only", "centralised"))
    points = {"gap_closed_points": _interval((student - low).tolist())}
    if (high <= low).any():
        # A seed without a way has no share of it.
        return points
    return {"gap_closed": _interval((100 * (student - low) / (high - low)).tolist()), **points}


def _interval(values: Sequence[float]) -> dict[str, float]:
    mean, half = mean_and_ci(values)
    return {"mean": mean, "low": mean - half, "high": mean + half, "seeds": len(values)}


def tables(report: dict[str, Any]) -> str:
    """The final accuracies, and the student beside fedavg after some of the rounds."""
    final = []
    for name, row in report["accuracy"].items():
        lead, half = report["student_lead"].get(name, (0.0, 0.0))
        difference = "" if name == "student" else plus_minus((-lead, half), "+.2f")
        final.append({"": name, "test accuracy": plus_minus(row["mean_ci95"]), "Δ vs. student": difference})
    parts = [f"{len(report['seeds'])} seeds, 95 % CI", aligned(final)]
    student, fedavg = report["by_round"]["student"], report["by_round"].get("fedavg")
    if fedavg is not None:
        shown = sorted({1, 3, 5, 10, len(student)} & set(range(1, len(student) + 1)))
        pairs = [(round, student[round - 1], fedavg[round - 1]) for round in shown]
        rows = [{"round": str(at), "student": plus_minus(ours), "fedavg": plus_minus(its)} for at, ours, its in pairs]
        parts += ["", aligned(rows)]
    if (gap := report.get("gap_closed")) is not None:
        share = plus_minus((gap["mean"], gap["high"] - gap["mean"]), ".1f")
        parts += ["", f"gap closed: {share} % of the way from public_only to centralised"]
    sent = " and ".join(f"{np.mean(report[f'megabytes_{way}']):.2f} {way}" for way in ("up", "down"))
    parts += ["", f"megabytes: {sent}"]
    seconds = ", ".join(f"{value:.0f}" for value in report["round_seconds"])
    return "\n".join([*parts, "", f"seconds per run, without controls: {seconds}"])


def csv_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    intervals = [
        *((name, index, row) for name, rows in report["by_round"].items() for index, row in enumerate(rows, start=1)),
        *((name, "final", row["mean_ci95"]) for name, row in report["accuracy"].items()),
    ]
    return [{"name": name, "round": at, **decimals(accuracy=mean, ci95=ci)} for name, at, (mean, ci) in intervals]


def draw(report: dict[str, Any], title: str) -> Figure:
    """Accuracy over rounds: a thin line per seed, a thick one for the mean."""
    figure = new_figure(8, 4.6)
    axes = figure.add_subplot()
    others = itertools.cycle(OTHER_COLOURS)
    for name, curves in report["curves"].items():
        colour = COLOURS.get(name) or next(others)
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
    return figure


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    parser.add_argument("--seeds", type=seed_list, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True, help="where the tables and the plot go, without ending")
    parser.add_argument(
        "--rival",
        action="append",
        default=[],
        type=_rival,
        metavar="'NAME: key.path=value'",
        help="the same with another setting, to compare with; may be given several times",
    )
    parser.add_argument("--runs", type=Path, help="run directories (default: runs/NAME-repeated)")
    arguments = parser.parse_intermixed_args(argv)
    name, seeds = Path(arguments.config).stem, arguments.seeds
    runs = arguments.runs or Path("runs") / f"{name}-repeated"
    found = run_seeds(arguments.config, arguments.overrides, seeds, runs)
    kept = [override for override in arguments.overrides if not override.startswith("controls=")]
    for rival, setting in arguments.rival:
        changed = [*kept, setting, "controls=[]"]
        found = with_rival(found, rival, run_seeds(arguments.config, changed, seeds, runs / f"rival {rival}"))
    content = summarise(found)
    content["rivals"] = dict(arguments.rival)
    content["config"] = to_mapping(load_config(arguments.config, arguments.overrides))
    with drawing():
        figures = {"": draw(content, f"{name}: {len(seeds)} seeds and their mean")}
        Report(content, tables(content), csv=csv_rows(content), figures=figures).write(
            arguments.out.parent, arguments.out.name
        )
    return 0


def _rival(text: str) -> tuple[str, str]:
    name, colon, setting = text.partition(":")
    if not colon or "=" not in setting or not name.strip():
        raise argparse.ArgumentTypeError(
            f"must be a name, a colon and an override, such as 'plain: a.b=c', got {text!r}"
        )
    return name.strip(), setting.strip()
