"""How privacy_frontier.py chooses the hyper-parameters of DP-SGD, without the samples that it reports on."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from studies.study import Report, Stage, aligned, run_afresh
from studies.tasks import Results, Task
from studies.unused_data import unused_by

TRIALS = (100, 101)
"""Seeds of their own."""
MARGIN = 0.005
"""Accuracy that two trials do not tell apart."""
KEYS = ("clients.epochs", "clients.batch_size", "clients.learning_rate", "privacy.mechanism.clip_norm")
Setting = Mapping[str, Any]
"""Changes to a configuration by dotted path."""


def _setting(epochs: int, batch_size: int, learning_rate: float, clip_norm: float = 1.0, **further: Any) -> Setting:
    usual = dict(zip(KEYS, (epochs, batch_size, learning_rate, clip_norm), strict=True))
    return usual | {f"clients.{key}": value for key, value in further.items()}


SETTINGS: Mapping[str, Setting] = {
    "batches of 32, as without privacy": _setting(20, 32, 0.03),
    "batches of 128, 10 epochs": _setting(10, 128, 0.1),
    "everything, 10 steps, rate 0.3": _setting(10, 1000, 0.3),
    "everything, 20 steps, rate 0.1": _setting(20, 1000, 0.1),
    "everything, 20 steps, rate 0.3": _setting(20, 1000, 0.3),
    "everything, 20 steps, rate 1, clip 0.3": _setting(20, 1000, 1.0, 0.3),
    "everything, 20 steps, rate 0.6": _setting(20, 1000, 0.6),
    "everything, 20 steps, rate 1": _setting(20, 1000, 1.0),
    "everything, 40 steps, rate 0.2": _setting(40, 1000, 0.2),
    "everything, 80 steps, rate 0.15": _setting(80, 1000, 0.15),
    "everything, 20 steps, rate 4, no momentum": _setting(20, 1000, 4.0, momentum=0.0),
    "everything, 20 steps, Adam, rate 0.003": _setting(20, 1000, 0.003, optimiser="adam"),
    "everything, 20 steps, rate 0.6, proximal 0.3": _setting(20, 1000, 0.6, proximal=0.3),
}
"""A batch of 1,000 is all of a client's samples."""
SMALL_NETWORK = {"student.model": {"name": "cnn", "channels": [8, 16], "hidden": 32}}
EXPERIMENTS: Mapping[str, Setting] = {
    "as shipped": {},
    "two rounds of 10 epochs": {"rounds": 2, "clients.epochs": 10},
    "four rounds of 5 epochs": {"rounds": 4, "clients.epochs": 5},
    "a network with a quarter of the parameters": SMALL_NETWORK,
    "800 samples per client": {"data.private_size": 8000},
    "1,600 samples per client": {"data.private_size": 16_000},
    "1,000 augmented and averaged steps of distillation": {
        "distillation.steps": 1000,
        "distillation.augment": ["flip", "shift"],
        "distillation.average": 0.998,
    },
}
"""Other experiments, in which DP-SGD might cost less: each is run with it and without any protection."""
WITH_DP_SGD, WITHOUT = "dp_sgd_8", "none"


def configured(seeds: Sequence[int], row: str, setting: Setting, seed: int) -> ExperimentConfig:
    """A trial of a row on samples that are private or test samples under none of ``seeds``."""
    path = f"configs/privacy/{row}.yaml"
    # With more samples, steps of DP-SGD have to be larger to see all that a client has.
    larger = row == WITH_DP_SGD and "data.private_size" in setting
    batch = {"clients.batch_size": setting["data.private_size"]} if larger else {}
    changes = {"data.dataset": unused_by(load_config(path), seeds), "seed": seed, "controls": []}
    return load_config(path, values={**batch, **setting, **changes})


def trials(seeds: Sequence[int]) -> dict[tuple[str, str, str], list[Task]]:
    """The tasks of every setting, with DP-SGD, and of every experiment, with and without it, by kind, name and row."""
    rows = [("setting", name, WITH_DP_SGD) for name in SETTINGS]
    rows += [("experiment", name, row) for name in EXPERIMENTS for row in (WITH_DP_SGD, WITHOUT)]
    return {row: [(tuple(seeds), *row, seed) for seed in TRIALS] for row in rows}


def run(runs: Path, seeds: Sequence[int], kind: str, name: str, row: str, seed: int) -> float | None:
    """The student's accuracy in one trial."""
    plan = SETTINGS if kind == "setting" else EXPERIMENTS
    out = runs / f"tuning-{kind}-{list(plan).index(name)}-{row}-{seed}"
    log = run_afresh(configured(seeds, row, plan[name], seed), out)
    accuracy: float | None = (log.summary or {})["student_accuracy"]
    return accuracy


def choose(means: Mapping[str, float]) -> str:
    """The best of the settings with fewest epochs among those at most ``MARGIN`` behind the best of all."""
    good = [name for name, mean in means.items() if mean >= max(means.values()) - MARGIN]
    return min(good, key=lambda name: (SETTINGS[name]["clients.epochs"], -means[name]))


def stages(seeds: Sequence[int]) -> list[Stage]:
    """Every setting and experiment with every seed; none of their samples has a role under ``seeds``."""
    return [Stage("trials", run, itertools.chain(*trials(seeds).values()))]


def report(seeds: Sequence[int], results: Results) -> Report:
    """All trials, what ``choose`` chooses, and what DP-SGD costs in other experiments."""
    found = {row: [results[task] for task in tasks] for row, tasks in trials(seeds).items()}
    accuracies = {name: found["setting", name, WITH_DP_SGD] for name in SETTINGS}
    means = {name: float(np.mean(values)) for name, values in accuracies.items()}
    best = choose(means)
    experiments: list[dict[str, Any]] = []
    for name, setting in EXPERIMENTS.items():
        private, plain = (found["experiment", name, row] for row in (WITH_DP_SGD, WITHOUT))
        cost = 100 * float(np.mean(np.subtract(plain, private)))
        experiments.append({"name": name, "setting": setting, "dp_sgd": private, "none": plain, "cost": cost})
    content = {
        "chosen": {"name": best, "setting": SETTINGS[best]},
        "trials": [{"name": name, "setting": SETTINGS[name], "accuracy": accuracies[name]} for name in SETTINGS],
        "experiments": experiments,
        "seeds": list(TRIALS),
        "reporting_seeds": list(seeds),
    }
    rows = [{"setting": name, "accuracy": f"{100 * mean:.2f} %"} for name, mean in means.items()]
    costs = [
        {"experiment": each["name"], "none": f"{100 * np.mean(each['none']):.2f} %", "cost": f"{each['cost']:.2f}"}
        for each in experiments
    ]
    return Report(content, f"{aligned(rows)}\nchosen: {best}\n\n{aligned(costs)}")
