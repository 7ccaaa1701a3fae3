"""What a malicious server learns by queries that it optimised, beside what drawn ones tell it.

    python scripts/malicious_server.py [--preset small|full] [--out docs/results] [--seeds 0]

Runs of configs/privacy with clients of 120 samples of Fashion-MNIST, in one upload each: without protection, with
labels only, and with DP-SGD. Each is audited twice from where a malicious server stands: by LiRA on the candidates and
by optimised queries, and again with those queries left at the candidates, which shows what the scoring alone gains; and
class shares and class means are inferred from drawn and from optimised queries. The full preset has three seeds and
takes a quarter of an hour of one core; the small one is one seed, of few samples. Writes malicious_server.json,
malicious_server.csv and malicious_server.png.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, replace
from math import sqrt
from pathlib import Path
from typing import Any

from fedkd.app.audit import audit_run
from fedkd.audit.report import AuditReport
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import AuditConfig, ExperimentConfig
from fedkd.config.values import Plugin
from fedkd.results.directory import RunDirectory
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.style import PALETTE, Figure, dress, new_figure
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, run_afresh, study_parser
from studies.tasks import Results

SETTINGS = {"none": "no protection", "label_only": "labels only", "dp_sgd_8": "DP-SGD, ε = 8"}
"""Files of configs/privacy, and what the runs are called."""
TARGETS = {"none": 4, "label_only": 2, "dp_sgd_8": 2}
"""Clients attacked: most where the smallest difference is looked for."""
DATA = ("data.private_size=1200", "data.public.size=1700", "student.model={name: mlp, hidden: [128]}")
PRESETS: dict[str, dict[str, Any]] = {
    "full": {"seeds": (0, 1, 2), "settings": tuple(SETTINGS), "targets": TARGETS, "shadows": 32, "overrides": DATA},
    "small": {
        "seeds": (0,),
        "settings": ("none", "dp_sgd_8"),
        "targets": dict.fromkeys(TARGETS, 1),
        "shadows": 8,
        "overrides": (
            "data.dataset=digits",
            "data.private_size=200",
            "data.public={size: 700, labelled: 50}",
            "clients.count=4",
            "student.model={name: mlp, hidden: [32]}",
            "distillation.steps=20",
        ),
    },
}
DRAWN = ("lira_online", "lira_offline")
INFERRED = ("label_distribution", "crafted_queries", "optimised_shares", "class_means")
SHARES = ("crafted_queries", "optimised_shares")
OPTIMISED, LEFT = "optimised_queries", "left at the candidates"


def configured(preset: str, setting: str, seed: int) -> ExperimentConfig:
    """The configuration of one run."""
    overrides = [*PRESETS[preset]["overrides"], f"seed={seed}"]
    return load_config(f"configs/privacy/{setting}.yaml", overrides)


def finished(runs: Path, preset: str, setting: str, seed: int) -> Path:
    """The folder of the run, which is made where it is not there."""
    folder = runs / preset / f"{setting}-{seed}"
    if not (RunDirectory.holds_run(folder) and RunDirectory(folder).summary is not None):
        run_afresh(configured(preset, setting, seed), folder)
    return folder


def membership(runs: Path, task: str, preset: str, setting: str, seed: int) -> dict[str, Any]:
    """AUC of each attack, and how much larger that of optimised queries is, with intervals; refutations of ε."""
    folder = finished(runs, preset, setting, seed)
    drawn = [Plugin(name) for name in DRAWN]
    options = AuditConfig(
        attacks=(*drawn, Plugin(OPTIMISED)),
        observations=("queried",),
        targets=PRESETS[preset]["targets"][setting],
        shadows=PRESETS[preset]["shadows"],
    )
    report = audit_run(folder, options)
    left = audit_run(folder, replace(options, attacks=(*drawn, Plugin(OPTIMISED, {"reach": 0.0}))))
    found = {each.attack: _measured(report, each.attack) for each in report.attacks}
    return {
        "attacks": {**found, LEFT: _measured(left, OPTIMISED)},
        "gains": {each.other: asdict(each) for each in report.comparisons},
        "gains of the scoring": {each.other: asdict(each) for each in left.comparisons},
        "refutations": [asdict(each) for each in (*report.ceiling, *left.ceiling)],
        "epsilon": report.epsilon,
        "skipped": [*report.skipped, *left.skipped],
    }


def inference(runs: Path, task: str, preset: str, setting: str, seed: int) -> dict[str, dict[str, float]]:
    """The figures of attacks that infer something else, by attack."""
    options = AuditConfig(attacks=tuple(map(Plugin, INFERRED)), shadows=PRESETS[preset]["shadows"])
    report = audit_run(finished(runs, preset, setting, seed), options)
    return {each.attack: dict(each.values) for each in report.inferences}


def _measured(report: AuditReport, attack: str) -> dict[str, Any]:
    found = report.result(attack, "queried")
    names = ("auc", "auc_interval", "tpr_at_1pct_fpr", "tpr_interval", "members", "non_members", "covered")
    return {name: getattr(found, name) for name in names}


def pooled(gains: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """The mean difference over runs, which are independent, and the half-width of its interval by theirs."""
    halves = [(each["interval"][1] - each["interval"][0]) / 2 for each in gains]
    mean = sum(each["auc_difference"] for each in gains) / len(gains)
    return mean, sqrt(sum(half**2 for half in halves)) / len(gains)


def rows_of(preset: str, seeds: Sequence[int], results: Results) -> list[dict[str, Any]]:
    """One row per setting: AUCs as means with intervals over seeds, gains pooled over the runs' own intervals."""
    rows = []
    for setting in PRESETS[preset]["settings"]:
        runs = [results["membership", preset, setting, seed] for seed in seeds]
        attacks = (*DRAWN, LEFT, OPTIMISED)
        rows.append(
            {
                "setting": setting,
                "auc": {name: mean_and_ci([run["attacks"][name]["auc"] for run in runs]) for name in attacks},
                "gain": {name: pooled([run["gains"][name] for run in runs]) for name in DRAWN},
                "gain of the scoring": {
                    name: pooled([run["gains of the scoring"][name] for run in runs]) for name in DRAWN
                },
                "shares": {name: _figure(preset, setting, seeds, results, name, "auc") for name in SHARES},
                "error of shares": {name: _figure(preset, setting, seeds, results, name, "l1") for name in SHARES},
                "class means": {
                    name: _figure(preset, setting, seeds, results, "class_means", name)
                    for name in ("correlation", "correlation_public", "beyond_public", "beyond_public_others")
                },
                "refutations": sum(len(run["refutations"]) for run in runs),
            }
        )
    return rows


def _figure(
    preset: str, setting: str, seeds: Sequence[int], results: Results, attack: str, name: str
) -> tuple[float, float]:
    return mean_and_ci([results["inference", preset, setting, seed][attack][name] for seed in seeds])


def table(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        {
            "": SETTINGS[row["setting"]],
            **{name: plus_minus(row["auc"][name], ".3f") for name in (*DRAWN, LEFT, OPTIMISED)},
            **{f"over {name}": plus_minus(row["gain"][name], "+.3f") for name in DRAWN},
            "refutations": str(row["refutations"]),
        }
        for row in rows
    ]
    inferred = [
        {
            "": SETTINGS[row["setting"]],
            **{f"{name}: AUC": plus_minus(row["shares"][name]) for name in SHARES},
            **{f"{name}: L1": plus_minus(row["error of shares"][name]) for name in SHARES},
            **{name: plus_minus(value, ".3f") for name, value in row["class means"].items()},
        }
        for row in rows
    ]
    return (
        f"AUC of membership, mean ± 95 % CI over seeds; gains of optimised queries\n{aligned(cells)}\n\n"
        f"class shares and class means, mean ± 95 % CI over seeds\n{aligned(inferred)}"
    )


def csv_row(row: dict[str, Any]) -> dict[str, str]:
    cells = {"setting": row["setting"]}
    for kind in ("auc", "gain", "gain of the scoring", "shares", "error of shares", "class means"):
        for name, (mean, half) in row[kind].items():
            column = f"{kind} {name}".replace(" ", "_")
            cells |= decimals(**{column: mean, f"{column}_ci95": half})
    return cells | {"refutations": str(row["refutations"])}


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """AUC by attack, a panel for each setting."""
    figure = new_figure(3.4 * len(rows), 3.8)
    for index, row in enumerate(rows):
        axes = figure.add_subplot(1, len(rows), index + 1)
        for place, (name, (mean, half)) in enumerate(row["auc"].items()):
            bar = None if half == float("inf") else half
            axes.errorbar(place, mean, yerr=bar, fmt="o", color=PALETTE[place], capsize=4, label=name)
        axes.axhline(0.5, color="black", linewidth=1, linestyle=":")
        axes.set_xticks([])
        axes.set_ylim(0.4, 1.0)
        dress(axes, SETTINGS[row["setting"]], "", "AUC of membership" if index == 0 else "")
    axes.legend(frameon=False, fontsize=8)
    return figure


def stages(asked: Namespace) -> list[Stage]:
    preset = PRESETS[asked.preset]
    seeds = asked.seeds or preset["seeds"]
    pairs = [(setting, seed) for seed in seeds for setting in preset["settings"]]
    return [
        Stage("membership", membership, [("membership", asked.preset, *pair) for pair in pairs]),
        Stage("inference", inference, [("inference", asked.preset, *pair) for pair in pairs]),
    ]


def reported(asked: Namespace, results: Results) -> Report:
    preset, seeds = asked.preset, asked.seeds or PRESETS[asked.preset]["seeds"]
    rows = rows_of(preset, seeds, results)
    content = {
        "preset": preset,
        "seeds": [*seeds],
        "rows": rows,
        "runs": {
            f"{setting}, seed {seed}": {
                "membership": results["membership", preset, setting, seed],
                "inference": results["inference", preset, setting, seed],
            }
            for setting in PRESETS[preset]["settings"]
            for seed in seeds
        },
        "config": to_mapping(configured(preset, "none", seeds[0])),
    }
    return Report(content, table(rows), csv=[*map(csv_row, rows)], figures={"": draw(rows)})


STUDY = Study("malicious_server", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
