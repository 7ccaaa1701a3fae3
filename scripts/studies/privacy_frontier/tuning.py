"""How privacy_frontier.py chooses the hyper-parameters of DP-SGD, without the samples that it reports on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from studies.study import Report, Stage, aligned, run_afresh
from studies.tasks import Results
from studies.unused_data import unused_by

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


def configured(seeds: Sequence[int], name: str, seed: int) -> ExperimentConfig:
    """A trial at ε = 8 on samples that are private or test samples under none of ``seeds``."""
    epochs, batch, rate, clip = SETTINGS[name]
    reported = load_config("configs/privacy/dp_sgd_8.yaml")
    overrides = [
        f"data.dataset={unused_by(reported, seeds)}",
        f"clients.epochs={epochs}",
        f"clients.batch_size={batch}",
        f"clients.learning_rate={rate}",
        f"privacy.mechanism.clip_norm={clip}",
        f"seed={seed}",
    ]
    return load_config("configs/privacy/dp_sgd_8.yaml", overrides)


def run(runs: Path, seeds: Sequence[int], name: str, seed: int) -> float | None:
    """The student's accuracy in one trial."""
    log = run_afresh(configured(seeds, name, seed), runs / f"tuning-{list(SETTINGS).index(name)}-{seed}")
    accuracy: float | None = (log.summary or {})["student_accuracy"]
    return accuracy


def choose(means: Mapping[str, float]) -> str:
    """The best of the settings with fewest epochs among those at most ``MARGIN`` behind the best of all."""
    good = [name for name, mean in means.items() if mean >= max(means.values()) - MARGIN]
    return min(good, key=lambda name: (SETTINGS[name][0], -means[name]))


def stages(seeds: Sequence[int]) -> list[Stage]:
    """Every setting with every seed; none of their samples has a role under ``seeds``."""
    return [Stage("trials", run, [(tuple(seeds), name, seed) for name in SETTINGS for seed in TRIALS])]


def report(seeds: Sequence[int], results: Results) -> Report:
    """All trials, and what ``choose`` chooses."""
    accuracies = {name: [results[tuple(seeds), name, seed] for seed in TRIALS] for name in SETTINGS}
    means = {name: float(np.mean(values)) for name, values in accuracies.items()}
    best = choose(means)
    keys = ("epochs", "batch_size", "learning_rate", "clip_norm")
    settings = {name: {"name": name, **dict(zip(keys, values, strict=True))} for name, values in SETTINGS.items()}
    content = {
        "chosen": settings[best],
        "trials": [{**settings[name], "accuracy": accuracies[name]} for name in SETTINGS],
        "seeds": list(TRIALS),
    }
    rows = [{"setting": name, "accuracy": f"{100 * mean:.2f} %"} for name, mean in means.items()]
    return Report(content, f"{aligned(rows)}\nchosen: {best}")
