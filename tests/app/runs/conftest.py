"""Runs to read: two seeds of one configuration, and another strategy."""

from pathlib import Path

import pytest

from fedkd import Run, distil_network, load_config, run_experiment
from tests.support.drawn_figures import figures_drawn

SMALL = {
    "rounds": 2,
    "data": {"private_size": 120, "public": {"size": 80, "labelled": 30}},
    "clients": {"count": 3, "epochs": 1},
    "student": {"model": {"name": "mlp", "hidden": [16]}},
    "distillation": {"steps": 8, "measure_every": 2, "measure_geometry_every": 2, "measure_classes_every": 4},
    "controls": ["public_only", "local_only", "teacher_only"],
    "engine": {"kind": "inline"},
}


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the runs ``0``, ``1`` and ``mean``."""
    folder = tmp_path_factory.mktemp("runs")
    with figures_drawn():
        run_experiment(load_config(SMALL), folder / "0")
    few = ["controls=[public_only]"]
    run_experiment(load_config(SMALL, ["seed=1", *few]), folder / "1")
    run_experiment(load_config(SMALL, ["strategy=mean_logits", "data.partition.alpha=0.3", *few]), folder / "mean")
    return folder


@pytest.fixture(scope="package")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = load_config(SMALL, ["teacher={model: cnn, epochs: 1}", "controls=[]"])
    return distil_network(config, tmp_path_factory.mktemp("distilled") / "run")
