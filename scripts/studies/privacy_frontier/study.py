"""What each way to protect clients costs in accuracy, and what attackers still learn.

    python scripts/privacy_frontier.py [--preset small|full] [--seeds 0,1] [--out docs/results] [--only none,gnmax]
    python scripts/privacy_frontier.py --tune

Every row is a configuration of configs/privacy on Fashion-MNIST; the full preset has five seeds, the small one is one
seed and an attack with few shadow models, minutes on two cores. The runs of the first seeds (--audited) are attacked as
`fedkd audit` does; runs and attacks are done one per core under --runs, and finished ones are not repeated. Writes
privacy_frontier.json, .csv (every attack), .md (the strongest attack of each row) and three figures: accuracy against
epsilon, ROC curves with their ceilings, and leakage by observation point.

Rows protect different things, records or clients, so that their epsilons are not comparable. What an attacker sees
outside of a guarantee is not attacked: the clients' reports, where the server is trusted or sees only their sum.

--tune chooses the hyper-parameters of DP-SGD on samples that are private or test samples under none of the seeds, and
writes privacy_tuning.json; configs/privacy/dp_sgd_*.yaml use what it chose.
"""

import hashlib
import json
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import studies.privacy_frontier.figures as figures
import studies.privacy_frontier.tables as tables
import studies.privacy_frontier.tuning as tuning
from fedkd.app.audit import audit_run
from fedkd.config.load import load_config, to_json, to_mapping
from fedkd.config.schema import AuditConfig, ExperimentConfig
from fedkd.config.values import Plugin
from studies.study import Report, Stage, Study, run_afresh, study_parser
from studies.tasks import Results, Task

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
TRUSTED_SERVER = ("secure_aggregation", "central_gaussian", "gnmax", "many_clients_gnmax", "many_clients_gaussian")
"""Rows in which only the server, or nobody at all, sees a client's report."""
Observation = Literal["queried", "transcript", "consensus", "student"]


def configured(row: str, seed: int, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The configuration of one run; that of the row without protection has the controls as well."""
    controls = [f"controls=[{CONTROLS}]"] if row == "none" else []
    # A thousand clients on ten thousand test samples would take longer than all that they do.
    measured = f"clients.measure_test={row in ROWS}"
    return load_config(f"configs/privacy/{row}.yaml", [f"seed={seed}", measured, *controls, *overrides])


def run(runs: Path, row: str, seed: int, overrides: tuple[str, ...], name: str) -> dict[str, Any]:
    """One run's result; its directory is kept for the attacks."""
    begun = time.process_time()
    summary = run_afresh(configured(row, seed, overrides), runs / name).summary or {}
    kept = ("controls", "epsilon", "delta", "guarantee", "bytes_up", "student_sha256")
    return {
        "student": summary["student_accuracy"],
        "clients": summary["client_test_accuracy"],
        **{key: summary[key] for key in kept},
        **tables.spent(runs / name),
        "cpu_seconds": time.process_time() - begun,
    }


def attack(runs: Path, row: str, seed: int, overrides: tuple[str, ...], name: str, shadows: int) -> dict[str, Any]:
    """What `fedkd audit` finds in a finished run, which is repeated if its directory is gone."""
    out = runs / name
    if not (out / "summary.json").is_file():
        run(runs, row, seed, overrides, name)
    begun = time.process_time()
    seen: tuple[Observation, ...] = ("consensus",) if row in TRUSTED_SERVER else ("queried", "transcript", "consensus")
    # A shadow model of the student takes the server's step once more, so that there are fewer of them.
    plans: list[tuple[tuple[Observation, ...], int]] = [(seen, shadows), (("student",), shadows // 2)]
    found: list[dict[str, Any]] = []
    for observations, count in plans:
        audit_run(out, AuditConfig(ATTACKS, observations, shadows=count, surrogate_epochs=3))
        found.append(json.loads((out / "audit.json").read_text(encoding="utf-8")))
    return {
        "attacks": [each for audit in found for each in audit["attacks"]],
        "ceiling": [each for audit in found for each in audit["ceiling"]],
        "cpu_seconds": time.process_time() - begun,
    }


def name_of(config: ExperimentConfig, row: str) -> str:
    """Where a run is kept; elsewhere with other settings."""
    return f"{row}-{config.seed}-{hashlib.sha256(to_json(config).encode()).hexdigest()[:8]}"


def seeds_of(asked: Namespace) -> tuple[list[int], list[int]]:
    """All seeds, and those whose runs are attacked."""
    preset = PRESETS[asked.preset]
    seeds = asked.seeds or list(preset["seeds"])
    return seeds, seeds[: asked.audited or preset["audited"]]


def rows_of(asked: Namespace) -> list[str]:
    return [row for row in ROWS if not asked.only or row in asked.only.split(",")]


def run_task(asked: Namespace, row: str, seed: int) -> Task:
    overrides = tuple(asked.override)
    return row, seed, overrides, name_of(configured(row, seed, overrides), row)


def attack_task(asked: Namespace, row: str, seed: int) -> Task:
    return *run_task(asked, row, seed), PRESETS[asked.preset]["shadows"]


def stages(asked: Namespace) -> list[Stage]:
    """The runs, and then the attacks on some of them: seed by seed, so that every row soon has a first figure."""
    rows, (seeds, attacked) = rows_of(asked), seeds_of(asked)
    return [
        Stage("runs", run, [run_task(asked, row, seed) for row in rows for seed in seeds]),
        Stage("attacks", attack, [attack_task(asked, row, seed) for seed in attacked for row in rows]),
    ]


def reported(asked: Namespace, results: Results) -> Report:
    """A row for every protection, the controls, and the figures."""
    rows, (seeds, attacked) = rows_of(asked), seeds_of(asked)
    found = {row: [results[run_task(asked, row, seed)] for seed in seeds] for row in rows}
    audits = {row: [results[attack_task(asked, row, seed)] for seed in attacked] for row in rows}
    summary = [tables.summarise(row, seeds, found[row], attacked, audits[row]) for row in rows]
    bars = tables.controls(found["none"]) if "none" in found else {}
    curves = {row: tables.curves(audits[row]) for row in rows}
    content = {
        "preset": asked.preset,
        "overrides": asked.override,
        "rows": summary,
        "controls": bars,
        "curves": curves,
        "configs": {row: to_mapping(configured(row, seeds[0], asked.override)) for row in rows},
    }
    text = tables.markdown(summary, bars)
    return Report(
        content,
        "\n".join([text, *tables.ceilings(summary)]),
        csv=tables.csv_rows(summary),
        markdown=text,
        figures={
            "": figures.draw_accuracy(summary, bars),
            "_roc": figures.draw_roc(summary, curves),
            "_leakage": figures.draw_leakage(summary),
        },
    )


STUDY = Study("privacy_frontier", stages, reported)
TUNING = Study(
    "privacy_tuning", lambda asked: tuning.stages(SEEDS), lambda asked, results: tuning.report(SEEDS, results)
)


def main(argv: Sequence[str] | None = None) -> int:
    parser = study_parser(__doc__, STUDY.name, PRESETS)
    parser.add_argument("--only", help="comma-separated rows (default: all)")
    parser.add_argument("--audited", type=int, help="how many of the seeds are attacked (default: the preset's)")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="for trials: in every run")
    parser.add_argument("--tune", action="store_true", help="choose DP-SGD's hyper-parameters instead")
    arguments = parser.parse_args(argv)
    return (TUNING if arguments.tune else STUDY).carry_out(arguments)
