"""The study of relations between tasks, small."""

import json
from pathlib import Path

import numpy as np
import pytest
from studies import multi_task

from tests.support.scripts_run import run_script


def test_the_study_runs_small_and_adds_up(tmp_path: Path) -> None:
    table = run_script(
        "scripts/multi_task_study.py", "--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1"
    )
    report = json.loads((tmp_path / "multi_task.json").read_text())
    assert report["tuning_seed"] not in report["seeds"]
    for student, weight in report["weights"]["digits"].items():
        tried = report["tuning"]["digits"][student]
        assert tried[f"{weight:g}"] == max(tried.values())
    rows = {(row["task"], row["network"]): row for row in report["rows"]}
    assert len(rows) == 2 * (1 + len(multi_task.STUDENTS))
    for position, task in enumerate(("class", "parity")):
        shares = {
            student: [100 * run["accuracy"][position] for run in runs]
            for student, runs in report["runs"]["digits"].items()
        }
        for student, rival in multi_task.COMPARED.items():
            found = rows[task, student]["difference"]
            assert found["mean"] == pytest.approx(np.mean(np.subtract(shares[student], shares[rival])))
            assert found["low"] <= found["mean"] <= found["high"]
    assert all(run["apart"] > 0 for runs in report["runs"]["digits"].values() for run in runs)
    assert "kl + relations" in table
    assert (tmp_path / "multi_task.png").stat().st_size > 5_000
    assert (tmp_path / "multi_task.csv").read_text().count("\n") == 1 + len(rows)


def test_students_differ_by_their_losses_alone() -> None:
    preset = multi_task.PRESETS["full"]
    losses = {
        student: [
            (loss.name, dict(loss.options)) for loss in preset.config("digits", 0, student, 10.0).distillation.loss
        ]
        for student in multi_task.STUDENTS
    }
    relations = (multi_task.RELATIONAL, {"weight": 10.0})
    assert losses[multi_task.ALONE] == [relations]
    assert losses[multi_task.BOTH] == [("kl", {}), relations]
    assert losses[multi_task.KL] == losses[multi_task.LABELS] == [("kl", {})]
