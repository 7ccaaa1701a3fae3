"""Do audits find what there is to be found: noise that is not what it should be, and clients that memorise?

    python scripts/audit_study.py [--preset small|full] [--out docs/results] [--seeds 0]

Mechanisms with noise as claimed, and with faults, are audited under the same claim of ε for two rounds: every fault's
lower bound should be above the claim, and that of correct noise below. Runs on Fashion-MNIST whose clients train for
longer, on fewer samples, are attacked as `fedkd audit` does, on one upload of fresh models. The full preset has three
seeds and takes a quarter of an hour of one core; the small one, on digits, has one. Finished tasks are not repeated.
Writes audit_study.json and audit_study.csv, which has the attacks on clients that memorise.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.app.audit import audit_run
from fedkd.audit import mechanisms
from fedkd.audit.metrics import Confidence
from fedkd.config.load import load_config, to_mapping
from fedkd.config.schema import AuditConfig, ExperimentConfig
from fedkd.config.values import Plugin
from fedkd.privacy import PrivateTraining, gaussian_epsilon
from fedkd.privacy.mechanisms.gaussian_logits import GaussianLogits
from fedkd.results.report.statistics import mean_and_ci
from strategies.gnmax import GNMax
from studies.study import Report, Stage, Study, aligned, decimals, plus_minus, run_afresh, study_parser
from studies.tasks import Results

NOISE, ROUNDS, DELTA = 2.0, 2, 1e-5
"""The multiplier of all mechanisms, and what their ε is claimed for."""
CLAIM = gaussian_epsilon(noise_multiplier=NOISE, releases=ROUNDS, delta=DELTA)
VOTES = 10
"""Queries per round on which gnmax answers, each a release of its own."""
FAULTS = ("correct", "a tenth", "none", "drawn once", "shared")
MECHANISMS = ("gaussian_logits", "dp_sgd", "gnmax")
ATTACKS = ("lira_online", "rmia", "loss_threshold")


@dataclass(frozen=True)
class Memorising:
    """How long clients train, and on how much."""

    epochs: int
    alpha: float
    private_size: int


SETTINGS = (Memorising(3, 0.3, 4000), Memorising(20, 0.3, 4000), Memorising(20, 0.5, 1200))


@dataclass(frozen=True)
class Preset:
    """``trials`` of a mechanism on each of two data sets, ``canaries`` of one private training."""

    seeds: tuple[int, ...]
    trials: int
    canaries: int
    settings: tuple[Memorising, ...]
    shadows: int
    overrides: tuple[str, ...]


PRESETS = {
    "full": Preset(
        (0, 1, 2),
        trials=1000,
        canaries=2000,
        settings=SETTINGS,
        shadows=24,
        overrides=("data.public={size: 1000, labelled: 200}",),
    ),
    "small": Preset(
        (0,),
        trials=200,
        canaries=600,
        settings=(Memorising(3, 0.5, 300),),
        shadows=8,
        overrides=("data.dataset=digits", "data.public={size: 300, labelled: 60}", "clients.count=3"),
    ),
}


def refutation(runs: Path, task: str, preset: str, mechanism: str, fault: str, seed: int) -> float:
    """The lower bound of ε for a mechanism with a fault."""
    bound, plan = Confidence(DELTA, seed=seed), PRESETS[preset]
    noise = {"a tenth": NOISE / 10, "none": 1e-9}.get(fault, NOISE)

    def seen(stream: mechanisms.Stream) -> mechanisms.Stream:
        match fault:
            case "drawn once":
                return lambda seed, round, client: stream(seed, 1, client)
            case "shared":
                return lambda seed, round, client: stream(seed, round, mechanisms.CANARY)
        return stream

    match mechanism:
        case "gaussian_logits":
            found = mechanisms.audit_logit_mechanism(
                GaussianLogits(noise_multiplier=noise),
                bound=bound,
                rounds=ROUNDS,
                trials=plan.trials,
                stream=seen(mechanisms.client_stream),
            )
        case "gnmax":
            # A changed vote moves two counts by one: as many releases at the same multiplier as there are queries.
            found = mechanisms.audit_teacher(
                lambda: GNMax(noise=noise * sqrt(2 * VOTES)),
                bound=bound,
                queries=VOTES,
                rounds=ROUNDS,
                trials=plan.trials,
                stream=seen(mechanisms.teacher_stream),
            )
        case _:
            found = mechanisms.audit_dp_sgd(
                PrivateTraining(noise_multiplier=noise, clip_norm=1.0),
                bound=bound,
                canaries=plan.canaries,
                stream=seen(mechanisms.training_stream),
            )
    return found.epsilon_lower_bound


def configured(preset: str, setting: Memorising, seed: int) -> ExperimentConfig:
    """One upload of fresh models, which were trained for long on little."""
    overrides = [
        *PRESETS[preset].overrides,
        f"data.private_size={setting.private_size}",
        f"data.partition.alpha={setting.alpha}",
        f"clients.epochs={setting.epochs}",
        "rounds=1",
        "engine.kind=inline",
        f"seed={seed}",
    ]
    return load_config("configs/algorithms/stacked.yaml", overrides)


def membership(runs: Path, task: str, preset: str, index: int, seed: int) -> dict[str, Any]:
    """What attacks on the clients' answers find, by attack."""
    out = runs / preset / f"memorising-{index}-{seed}"
    plan = PRESETS[preset]
    run_afresh(configured(preset, plan.settings[index], seed), out)
    options = AuditConfig(tuple(map(Plugin, ATTACKS)), observations=("queried",), targets=3, shadows=plan.shadows)
    report = audit_run(out, options)
    found = {name: report.result(name, "queried") for name in ATTACKS}
    return {
        "clients": report.clients,
        "members": found[ATTACKS[0]].members,
        "attacks": {name: {"auc": each.auc, "interval": each.auc_interval} for name, each in found.items()},
    }


def stages(asked: Namespace) -> list[Stage]:
    """Mechanisms, every fault that they can have, and clients."""
    plan, seeds = PRESETS[asked.preset], asked.seeds or PRESETS[asked.preset].seeds
    faults = [("mechanisms", asked.preset, *kind, seed) for kind in kinds() for seed in seeds]
    clients = [("memorising", asked.preset, index, seed) for index in range(len(plan.settings)) for seed in seeds]
    return [Stage("mechanisms", refutation, faults), Stage("clients", membership, clients)]


def kinds() -> list[tuple[str, str]]:
    """Mechanisms with their faults; one server, which draws gnmax's noise, has nobody to share it with."""
    return [(name, fault) for name in MECHANISMS for fault in FAULTS if (name, fault) != ("gnmax", "shared")]


def reported(asked: Namespace, results: Results) -> Report:
    plan, seeds = PRESETS[asked.preset], asked.seeds or PRESETS[asked.preset].seeds
    bounds = {kind: [results["mechanisms", asked.preset, *kind, seed] for seed in seeds] for kind in kinds()}
    mechanism_rows = [
        {"mechanism": name, "fault": fault, "bounds": found, "refuted": int(np.sum(np.array(found) > CLAIM))}
        for (name, fault), found in bounds.items()
    ]
    rows = []
    for index, setting in enumerate(plan.settings):
        found = [results["memorising", asked.preset, index, seed] for seed in seeds]
        aucs = {name: mean_and_ci([run["attacks"][name]["auc"] for run in found]) for name in ATTACKS}
        rows.append({**asdict(setting), "members": [run["members"] for run in found], "auc": aucs, "runs": found})
    content = {
        "preset": asked.preset,
        "seeds": seeds,
        "claim": {"epsilon": CLAIM, "delta": DELTA, "level": Confidence(DELTA).level, "noise_multiplier": NOISE},
        "trials": plan.trials,
        "canaries": plan.canaries,
        "shadows": plan.shadows,
        "mechanisms": mechanism_rows,
        "memorising": rows,
        "configs": [to_mapping(configured(asked.preset, setting, seeds[0])) for setting in plan.settings],
    }
    return Report(content, text_of(mechanism_rows, rows), csv=[csv_row(row) for row in rows])


def text_of(mechanism_rows: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> str:
    mechanism_cells = [
        {
            "": row["mechanism"],
            "noise": row["fault"],
            "lower bounds of ε": ", ".join(f"{bound:.2f}" for bound in row["bounds"]),
            "refuted": f"{row['refuted']} of {len(row['bounds'])}",
        }
        for row in mechanism_rows
    ]
    cells = [
        {
            "epochs": str(row["epochs"]),
            "α": str(row["alpha"]),
            "samples": str(row["private_size"]),
            **{name: plus_minus(row["auc"][name], ".3f") for name in ATTACKS},
        }
        for row in rows
    ]
    return f"claim: ε = {CLAIM:.2f}\n{aligned(mechanism_cells)}\n\nAUC, mean ± 95 % CI over seeds\n{aligned(cells)}"


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {key: row[key] for key in ("epochs", "alpha", "private_size")}
    for name, (mean, half) in row["auc"].items():
        cells |= decimals(**{name: mean, f"{name}_ci95": half})
    return cells


STUDY = Study("audit_study", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
