"""Attackers in whole runs on the inline engine: who attacks, what arrives, and what the server makes of it."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.experiment import Experiment
from fedkd.results.observer import Silent
from fedkd.results.records import Summary

SMALL: dict[str, Any] = {
    "rounds": 2,
    "data": {"private_size": 400, "public": {"size": 200, "labelled": 40}, "partition": {"scheme": "iid"}},
    "clients": {"count": 6, "epochs": 3},
    "strategy": "mean_probabilities",
    "student": {"model": "mlp"},
    "distillation": {"steps": 40, "balancer": {"name": "fixed", "value": 1.0}},
    "engine": {"kind": "inline"},
}


def run(out: Path, *overrides: str) -> Summary:
    return run_experiment(load_config(SMALL, overrides), out, Silent()).summary


def rounds_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


def test_the_seed_draws_the_attackers() -> None:
    def attackers(*overrides: str) -> frozenset[int]:
        return Experiment.of(load_config(SMALL, overrides)).attackers

    assert attackers() == frozenset()
    assert len(attackers("clients.attackers.share=0.34")) == 2
    drawn = {attackers("clients.attackers.share=0.34", f"seed={seed}") for seed in range(6)}
    assert len(drawn) > 2


def test_attackers_are_recorded(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "rounds=1", "clients.attackers={share: 0.34, behaviour: random}")
    attackers = Experiment.of(load_config(tmp_path / "run" / "config.yaml")).attackers
    assert len(attackers) == 2
    assert set(summary.attackers) == attackers
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["attackers"] == sorted(attackers)
    with (tmp_path / "run" / "clients.csv").open(encoding="utf-8", newline="") as file:
        behaviours = {int(row["client"]): row["behaviour"] for row in csv.DictReader(file)}
    assert behaviours == {client: "random" if client in attackers else "honest" for client in range(6)}


@pytest.mark.parametrize("name", [name for name in plugins.names(plugins.BEHAVIOUR) if name != "honest"])
def test_every_behaviour_goes_through_two_rounds(tmp_path: Path, name: str) -> None:
    attacked = ("clients.attackers.share=0.34", f"clients.attackers.behaviour={name}")
    run(tmp_path / "run", *attacked)
    rows = rounds_of(tmp_path / "run")
    assert len(rows) == 2
    attackers = Experiment.of(load_config(SMALL, attacked)).attackers
    failed = {failure["client"] for row in rows for failure in row["failures"]}
    # The server throws out what is no number, and nothing else.
    assert failed == (attackers if name == "not_a_number" else set())


def test_colluding_attackers_undo_the_mean_and_stacking_hardly_notices(tmp_path: Path) -> None:
    def accuracy(teacher: str, share: float) -> float:
        out = tmp_path / f"{teacher}{share}"
        run(
            out,
            "rounds=1",
            f"strategy.name={teacher}",
            f"clients.attackers.share={share}",
            "clients.attackers.behaviour=cpa",
        )
        found = rounds_of(out)[0]["teacher_accuracy"]
        assert isinstance(found, float)
        return found

    lost = {teacher: accuracy(teacher, 0.0) - accuracy(teacher, 0.5) for teacher in ("mean_probabilities", "stacked")}
    assert lost["mean_probabilities"] > 0.3
    assert lost["stacked"] < 0.15
