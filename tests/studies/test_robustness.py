"""The robustness study runs, is resumable, and its table says what it claims."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


def run_study(out: Path) -> str:
    command = [sys.executable, "scripts/robustness_study.py", "--out", str(out), "--cache", str(out / "cache")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_robustness_study_runs_small(tmp_path: Path) -> None:
    table = run_study(tmp_path)
    report = json.loads((tmp_path / "robustness_study.json").read_text())
    assert set(report["best"]["iid"]) == {"none", "label_noise 30%", "hips 30%", "absent 30%"}
    for case, row in report["mean"]["iid"].items():
        best = report["best"]["iid"][case]
        assert best["accuracy"] == row[best["defence"]]
        for defence, (mean, _) in row.items():
            assert report["loss"]["iid"][case][defence][0] == pytest.approx(
                report["mean"]["iid"]["none"][defence][0] - mean
            )
    # Three of ten clients that train on wrong labels hurt the mean, and hardly the teacher that is fitted on labels.
    loss = {defence: value[0] for defence, value in report["loss"]["iid"]["label_noise 30%"].items()}
    assert loss["mean_probabilities"] > 3.0
    assert loss["stacked"] < loss["mean_probabilities"]
    assert all(len(attackers) == 3 for attackers in report["attackers"].values())
    with (tmp_path / "robustness_study.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4 * len(report["defences"])
    assert (tmp_path / "robustness_study.png").stat().st_size > 10_000
    # Everything is cached: a second call only writes the tables again.
    assert run_study(tmp_path) == table
