"""The study of compression, small."""

import json
from pathlib import Path

import pytest

from tests.support.scripts_run import run_script


def test_it_runs_small_and_says_what_the_runs_say(tmp_path: Path) -> None:
    command = ("scripts/compression_study.py", "--out", str(tmp_path), "--runs", str(tmp_path / "runs"))
    table = run_script(*command, "--workers", "1", "--seeds", "5,6")
    report = json.loads((tmp_path / "compression.json").read_text())
    assert report["seeds"] == [5, 6]
    # 64 pixels into a network of 16 hidden units: 64·16+16 + 16·10+10.
    small = report["settings"]["transfer"]["networks"]["student"]["parameters"]
    assert small == 1210
    assert report["parameters_ratio"] == pytest.approx(13_706 / 1210)
    for setting, found in report["settings"].items():
        runs = [json.loads((tmp_path / f"runs/small/{setting} seed={seed}/result.json").read_text()) for seed in (5, 6)]
        gains = [100 * (each["student_accuracy"] - each["student_without_teacher_accuracy"]) for each in runs]
        gain = found["gain_over_no_teacher"]
        assert gain["mean"] == pytest.approx(sum(gains) / 2)
        # Student's t of one degree of freedom, over two values.
        assert gain["high"] - gain["mean"] == pytest.approx(12.7062 * abs(gains[0] - gains[1]) / 2, rel=1e-4)
        kept = [each["student_accuracy"] / each["teacher_accuracy"] for each in runs]
        assert found["accuracy_kept"] == pytest.approx(sum(kept) / 2)
        assert f"{setting}: 1/11.3 of the parameters" in table
    labelled = {name: each["data"]["public"]["labelled"] for name, each in report["config"].items()}
    sizes = {name: each["data"]["public"]["size"] for name, each in report["config"].items()}
    assert labelled == {"transfer": 100, "same labels": 100, "same samples": 100}
    assert sizes == {"transfer": 600, "same labels": 600, "same samples": 100}
    taught_by = {name: each["teacher"]["trained_on"] for name, each in report["config"].items()}
    assert taught_by == {"transfer": "all", "same labels": "public", "same samples": "public"}
    assert report["gain_over_no_teacher"] == report["settings"]["transfer"]["gain_over_no_teacher"]
    assert (tmp_path / "compression.csv").read_text().count("\n") == 1 + 3 * 5
    assert (tmp_path / "compression.png").stat().st_size > 10_000
