"""A real run to look at, and what interruptions leave of it."""

import shutil
from pathlib import Path

import pytest

from fedkd.app.run import run_experiment
from fedkd.config.load import parse_config
from tests.support.drawn_figures import figures_drawn

SMALL = {
    "rounds": 2,
    "data": {"private_size": 60, "public": {"size": 40, "labelled": 20}},
    "clients": {"count": 2},
    "student": {"model": {"name": "mlp"}},
    "distillation": {"steps": 8, "measure_every": 2, "measure_classes_every": 4},
    "controls": ["public_only", "local_only"],
    "engine": {"kind": "inline"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "real"
    with figures_drawn():
        run_experiment(parse_config(SMALL), out)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def unfinished(run: Path) -> Path:
    """As after an interruption in the middle of writing down the second round."""
    (run / "summary.json").unlink()
    rounds = (run / "rounds.jsonl").read_text(encoding="utf-8")
    first, second = rounds.splitlines()
    (run / "rounds.jsonl").write_text(f"{first}\n{second[:40]}", encoding="utf-8")
    return run
