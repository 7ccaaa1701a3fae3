"""Finished runs to attack."""

from pathlib import Path
from typing import Any

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config

LEARNT_BY_HEART: dict[str, Any] = {
    "rounds": 2,
    "data": {
        "dataset": {"name": "tests.support.noise_images:NoiseImages"},
        "private_size": 120,
        "client_validation": 0.0,
        "partition": {"scheme": "iid"},
        "public": {"size": 150, "labelled": 10},
    },
    "clients": {"count": 3, "epochs": 25, "batch_size": 8, "learning_rate": 0.1},
    "student": {"model": {"name": "mlp", "hidden": [64]}},
    "strategy": "mean_probabilities",
    "distillation": {"steps": 20},
    "engine": {"kind": "inline"},
}
"""Three clients that train until they know their forty inputs of nothing by heart."""


def finished(folder: Path, *overrides: str) -> Path:
    run_experiment(load_config(LEARNT_BY_HEART, overrides), folder)
    return folder
