"""Only what no round depends on may change when a run is resumed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from fedkd.results.observer import Silent
from tests.support.interrupted import PLAIN


class ValidationMeasurements(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def noticed(self, text: str) -> None:
        self.texts.append(text)


def resumed(out: Path, *overrides: str) -> list[str]:
    """The notices of a run that goes on, in this process, with a changed configuration."""
    notes = ValidationMeasurements()
    run_experiment(load_config(PLAIN, overrides), out, notes, resume=True)
    return notes.texts


def test_a_changed_config_is_refused_with_every_difference(stopped: Path) -> None:
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError) as refused:
        resumed(
            stopped,
            "clients.count=4",
            "strategy.name=mean_probabilities",
            "distillation.balancer.name=fixed",
            "distillation.balancer.value=0.25",
            "engine.server_threads=2",
            "engine.workers=7",
        )
    problems = sorted(refused.value.problems)
    keys = [problem.partition(":")[0] for problem in problems]
    assert keys == [
        "clients.count",
        "distillation.balancer.name",
        "distillation.balancer.value",
        "engine.server_threads",
        "strategy.name",
    ]
    assert problems[0].startswith(f"clients.count: the run in {stopped} has 3, got 4; put 3 back")
    assert "has nothing, got 0.25" in problems[2]
    assert all("--out" in problem for problem in problems)
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before


def test_where_the_work_is_done_may_change(
    stopped: Path, plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDKD_FIGURES", "1")
    elsewhere = ("engine.workers=1", "engine.timeout=77", "engine.clients_per_node=2")
    notices = resumed(stopped, *elsewhere, "controls=[local_only]")
    assert "engine.timeout: 3600.0 until now, 77.0 from here; the rounds do not depend on it" in notices
    assert yaml.safe_load((stopped / "config.yaml").read_text())["engine"]["timeout"] == 77
    for name in ("rounds.jsonl", "distillation.csv", "clients.csv"):
        assert (stopped / name).read_bytes() == plain[name]
    assert {path.name for path in (stopped / "plots").iterdir()} >= {"accuracy.png", "label_distribution.png"}
    # A control that is asked for afterwards is computed, and nothing else.
    resumed(stopped, "engine.timeout=77", "controls=[teacher_only]")
    summary = json.loads((stopped / "summary.json").read_text())
    assert summary["control_history"] == {"teacher_only": plain["summary"]["control_history"]["teacher_only"]}
