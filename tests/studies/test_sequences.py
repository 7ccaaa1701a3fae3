"""The study of attention and a fixed pattern, small."""

import json
from pathlib import Path

import pytest
import torch
from studies import sequences

from fedkd.config.values import Plugin
from fedkd.core.samples import SampleSpec
from fedkd.distillation.network import NetworkTeacher
from fedkd.models import build_model
from tests.support.scripts_run import run_script


def test_the_study_runs_small_and_adds_up(tmp_path: Path) -> None:
    table = run_script(
        "scripts/sequence_study.py", "--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1"
    )
    report = json.loads((tmp_path / "sequences.json").read_text())
    assert report["tuning_seed"] not in report["seeds"]
    tried = report["tuning"]["digits"]
    assert tried[f"{report['weights']['digits']:g}"] == max(tried.values())
    rows = {row["network"]: row for row in report["rows"]}
    runs = report["runs"]["digits"]
    for student in sequences.STUDENTS:
        gaps = [100 * (run["accuracy"] - run["teacher"]) for run in runs[student]]
        assert rows[student]["minus_teacher"][0] == pytest.approx(sum(gaps) / len(gaps))
        for run in runs[student]:
            assert sum(run["pattern"]) == pytest.approx(1.0)
            assert sum(run["attention"]) == pytest.approx(1.0)
        assert rows[student]["times_faster_1"][0] > 1.0
        assert student in table
    assert rows["the same weight for all"]["variation"][0] > 0
    assert (tmp_path / "sequences.png").stat().st_size > 5_000
    assert (tmp_path / "sequences.csv").read_text().count("\n") == 1 + len(rows)


def test_distances_between_patterns_by_hand() -> None:
    assert sequences.variation([0.5, 0.5, 0.0], [0.0, 0.5, 0.5]) == pytest.approx(0.5)
    assert sequences.cosine([3.0, 4.0], [4.0, 3.0]) == pytest.approx(24 / 25)
    sample = SampleSpec((2, 3))
    model = build_model(Plugin("fixed_context", {"width": 2}), sample, 2, torch.Generator())
    with torch.no_grad():
        model.get_parameter("weights.scores").copy_(torch.tensor([1.0, 2.0, 5.0]).log())
    inputs = torch.ones(2, 2, 3)
    # Of the second sample the last step is padding, which leaves 1/3 and 2/3.
    inputs[1, :, 2] = 0
    found = sequences.mean_weights(NetworkTeacher(model, sample), inputs)
    assert found.tolist() == pytest.approx([(1 / 8 + 1 / 3) / 2, (2 / 8 + 2 / 3) / 2, 5 / 16])
