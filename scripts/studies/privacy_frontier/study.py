"""What each way to protect clients costs in accuracy, and what attackers still learn.

    python scripts/privacy_frontier.py [--preset small|full] [--seeds 0,1] [--out docs/results] [--only none,gnmax]
    python scripts/privacy_frontier.py --tune

Every row is a configuration of configs/privacy on Fashion-MNIST; the full preset has five seeds, the small one is one
seed and an attack with few shadows, minutes on two cores. The runs of the first seeds (--audited) are attacked as
`fedkd audit` does; runs and attacks are done one per core under --runs, and finished ones are not done again. Writes
privacy_frontier.json, .csv (every attack), .md (the strongest attack of each row) and three figures: accuracy against
epsilon, ROC curves with their ceilings, and leakage by observation point.

Rows protect different things, records or clients, so that their epsilons do not compare. What an attacker sees that a
guarantee is not about is not attacked: the reports, where the server is trusted or gets to see their sum alone.

--tune chooses the hyper-parameters of DP-SGD on samples that are private or test samples under none of the seeds, and
writes privacy_tuning.json; configs/privacy/dp_sgd_*.yaml have what it chose.
"""

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console as RichConsole
from rich.progress import Progress

import studies.privacy_frontier.figures as figures
import studies.privacy_frontier.tables as table
import studies.privacy_frontier.tuning as tuning
from fedkd.app.audit import audit_run
from fedkd.app.run import run_experiment
from fedkd.app.summary import versions
from fedkd.config.load import load_config, to_json, to_mapping
from fedkd.config.schema import AuditConfig, ExperimentConfig, Plugin
from fedkd.core.files import write_json
from studies.tasks import Results, Task, run_tasks

ROWS = (
    "none",
    "label_only",
    "secure_aggregation",
    "dp_sgd_8",
    "dp_sgd_4",
    "dp_sgd_2",
    "central_gaussian",
    "gnmax",
)
SEEDS = (0, 1, 2, 3, 4)
PRESETS: dict[str, dict[str, Any]] = {
    "full": {"seeds": SEEDS, "audited": 2, "shadows": 16},
    "small": {"seeds": SEEDS[:1], "audited": 1, "shadows": 8},
}
ATTACKS = tuple(Plugin(name) for name in ("loss_threshold", "lira_online", "lira_offline", "rmia"))
CONTROLS = "public_only, local_only, fedavg, centralised, teacher_only"
TRUSTED_SERVER = ("secure_aggregation", "central_gaussian", "gnmax")
"""Rows in which nobody but the server, or nobody at all, sees a client's report."""
Observation = Literal["queried", "transcript", "consensus", "student"]


def configured(row: str, seed: int, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The configuration of one run; that of the row without protection has the controls as well."""
    controls = [f"controls=[{CONTROLS}]"] if row == "none" else []
    return load_config(f"configs/privacy/{row}.yaml", [f"seed={seed}", *controls, *overrides])


def run(runs: Path, overrides: tuple[str, ...], row: str, seed: int, name: str) -> dict[str, Any]:
    """One run's result; its directory stays behind, for the attacks."""
    config, out = configured(row, seed, overrides), runs / name
    # What an interrupted attempt left behind is of no use: there is nothing to choose from it.
    shutil.rmtree(out, ignore_errors=True)
    begun = time.process_time()
    summary = run_experiment(config, out)
    return {
        "student": summary.student_accuracy,
        "clients": summary.client_test_accuracy,
        "controls": summary.controls,
        "epsilon": summary.epsilon,
        "delta": summary.delta,
        "guarantee": None if summary.guarantee is None else vars(summary.guarantee),
        **table.spent(out),
        "bytes_up": summary.bytes_up,
        "cpu_seconds": time.process_time() - begun,
        "student_sha256": summary.student_sha256,
    }


def attack(runs: Path, overrides: tuple[str, ...], row: str, seed: int, name: str, shadows: int) -> dict[str, Any]:
    """What `fedkd audit` finds in a finished run, which is repeated if its directory is gone."""
    out = runs / name
    if not (out / "summary.json").is_file():
        run(runs, overrides, row, seed, name)
    begun = time.process_time()
    found: list[dict[str, Any]] = []
    seen: tuple[Observation, ...] = ("consensus",) if row in TRUSTED_SERVER else ("queried", "transcript", "consensus")
    # A shadow of the student takes the server's step once more, so that there are fewer of them.
    audit_run(out, AuditConfig(ATTACKS, seen, shadows=shadows, surrogate_epochs=3))
    found.append(json.loads((out / "audit.json").read_text(encoding="utf-8")))
    audit_run(out, AuditConfig(ATTACKS, ("student",), shadows=shadows // 2, surrogate_epochs=3))
    found.append(json.loads((out / "audit.json").read_text(encoding="utf-8")))
    return {
        "attacks": [each for audit in found for each in audit["attacks"]],
        "ceiling": [each for audit in found for each in audit["ceiling"]],
        "cpu_seconds": time.process_time() - begun,
    }


def name_of(config: ExperimentConfig, row: str) -> str:
    """Where a run is kept; elsewhere with other settings."""
    return f"{row}-{config.seed}-{hashlib.sha256(to_json(config).encode()).hexdigest()[:8]}"


def with_progress(title: str, function: Callable[..., Any], tasks: list[Task], results: Results, workers: int) -> None:
    """Do what is left of the tasks, one per worker."""
    with Progress(console=RichConsole(stderr=True), transient=True) as bars:
        bar = bars.add_task(title, total=None)
        run_tasks(
            function,
            tasks,
            results,
            workers=workers,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--runs", type=Path, default=Path("runs/privacy"))
    parser.add_argument("--only", help="comma-separated rows (default: all)")
    parser.add_argument("--seeds", help="comma-separated seeds (default: the preset's)")
    parser.add_argument("--audited", type=int, help="how many of the seeds are attacked (default: the preset's)")
    parser.add_argument("--workers", type=int, help="runs at a time (default: one per core)")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="for trials: in every run")
    parser.add_argument("--tune", action="store_true", help="choose DP-SGD's hyper-parameters instead")
    arguments = parser.parse_args()
    runs, overrides = arguments.runs.resolve(), tuple(arguments.override)
    results = Results(runs / "results.jsonl")
    if arguments.tune:
        tasks = tuning.tasks()
        with_progress("tuning", partial(tuning.run, runs, SEEDS), tasks, results, arguments.workers)
        write_json(arguments.out / "privacy_tuning.json", tuning.report(results))
        return 0
    preset = PRESETS[arguments.preset]
    rows = [row for row in ROWS if not arguments.only or row in arguments.only.split(",")]
    seeds = [int(seed) for seed in arguments.seeds.split(",")] if arguments.seeds else list(preset["seeds"])
    names = {(row, seed): name_of(configured(row, seed, overrides), row) for row in rows for seed in seeds}
    runs_wanted: list[Task] = [(row, seed, name) for (row, seed), name in names.items()]
    attacked = seeds[: arguments.audited or preset["audited"]]
    # Seed by seed, so that there is a first figure of every row soon.
    audits_wanted: list[Task] = [(row, seed, names[row, seed], preset["shadows"]) for seed in attacked for row in rows]
    with_progress("runs", partial(run, runs, overrides), runs_wanted, results, arguments.workers)
    with_progress("attacks", partial(attack, runs, overrides), audits_wanted, results, arguments.workers)
    found = {row: [results[row, seed, names[row, seed]] for seed in seeds] for row in rows}
    audits = {row: [results[row, seed, names[row, seed], preset["shadows"]] for seed in attacked] for row in rows}
    summary = [table.summarise(row, seeds, found[row], attacked, audits[row]) for row in rows]
    bars = table.controls(found["none"]) if "none" in found else {}
    report = {
        "preset": arguments.preset,
        "overrides": list(overrides),
        "rows": summary,
        "controls": bars,
        "curves": {row: table.curves(audits[row]) for row in rows},
        "configs": {row: to_mapping(configured(row, seeds[0], overrides)) for row in rows},
        "versions": versions(),
    }
    write_json(arguments.out / "privacy_frontier.json", report)
    table.write_csv(arguments.out / "privacy_frontier.csv", summary)
    text = table.markdown(summary, bars)
    (arguments.out / "privacy_frontier.md").write_text(text, encoding="utf-8")
    figures.draw_accuracy(arguments.out / "privacy_frontier.png", summary, bars)
    figures.draw_roc(arguments.out / "privacy_frontier_roc.png", summary, report["curves"])
    figures.draw_leakage(arguments.out / "privacy_frontier_leakage.png", summary)
    print(text)
    for line in table.ceilings(summary):
        print(line)
    return 0
