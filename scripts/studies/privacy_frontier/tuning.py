"""How privacy_frontier.py chooses the hyper-parameters of DP-SGD, without the samples that it reports on."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.app.run import run_experiment
from fedkd.app.summary import versions
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from studies.tasks import Results, Task

TRIALS = (100, 101)
"""Seeds of their own."""
MARGIN = 0.005
"""Accuracy that two trials do not tell apart."""
SETTINGS: dict[str, tuple[int, int, float, float]] = {
    "batches of 32, as without privacy": (20, 32, 0.03, 1.0),
    "batches of 128, 10 epochs": (10, 128, 0.1, 1.0),
    "everything, 10 steps, rate 0.3": (10, 1000, 0.3, 1.0),
    "everything, 20 steps, rate 0.1": (20, 1000, 0.1, 1.0),
    "everything, 20 steps, rate 0.3": (20, 1000, 0.3, 1.0),
    "everything, 20 steps, rate 1, clip 0.3": (20, 1000, 1.0, 0.3),
    "everything, 20 steps, rate 0.6": (20, 1000, 0.6, 1.0),
    "everything, 20 steps, rate 1": (20, 1000, 1.0, 1.0),
    "everything, 40 steps, rate 0.2": (40, 1000, 0.2, 1.0),
}
"""Epochs, batch size, learning rate and clip norm; a batch of 1,000 is all of a client's samples."""


def tasks() -> list[Task]:
    """Every setting with every seed."""
    return [("tuning", name, seed) for name in SETTINGS for seed in TRIALS]


def configured(seeds: Sequence[int], name: str, seed: int) -> ExperimentConfig:
    """A trial at ε = 8 on samples that are private or test samples under none of ``seeds``."""
    epochs, batch, rate, clip = SETTINGS[name]
    reported = load_config("configs/privacy/dp_sgd_8.yaml")
    source = {
        "name": "_unused_data:UnusedFashionMnist",
        "seeds": list(seeds),
        "public_size": reported.data.public.size,
        "private_size": reported.data.private_size,
    }
    overrides = [
        f"data.dataset={source}",
        f"clients.epochs={epochs}",
        f"clients.batch_size={batch}",
        f"clients.learning_rate={rate}",
        f"privacy.mechanism.clip_norm={clip}",
        f"seed={seed}",
    ]
    return load_config("configs/privacy/dp_sgd_8.yaml", overrides)


def run(runs: Path, seeds: Sequence[int], kind: str, name: str, seed: int) -> float | None:
    """The student's accuracy in one trial."""
    out = runs / f"{kind}-{list(SETTINGS).index(name)}-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    return run_experiment(configured(seeds, name, seed), out).student_accuracy


def choose(means: Mapping[str, float]) -> str:
    """The best of the settings with fewest epochs among those at most ``MARGIN`` behind the best of all."""
    good = [name for name, mean in means.items() if mean >= max(means.values()) - MARGIN]
    return min(good, key=lambda name: (SETTINGS[name][0], -means[name]))


def report(results: Results) -> dict[str, Any]:
    """All trials, and what ``choose`` chooses."""
    accuracies = {name: [results["tuning", name, seed] for seed in TRIALS] for name in SETTINGS}
    best = choose({name: float(np.mean(values)) for name, values in accuracies.items()})
    keys = ("epochs", "batch_size", "learning_rate", "clip_norm")
    return {
        "chosen": {"name": best, **dict(zip(keys, SETTINGS[best], strict=True))},
        "trials": [
            {"name": name, **dict(zip(keys, SETTINGS[name], strict=True)), "accuracy": accuracies[name]}
            for name in SETTINGS
        ],
        "seeds": list(TRIALS),
        "versions": versions(),
    }
