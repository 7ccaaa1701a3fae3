"""The comparison of algorithms, small."""

import json
from pathlib import Path

import pytest
from studies import algorithms

from tests.support.scripts_run import run_script


def test_the_algorithm_study_runs_small_and_adds_up(tmp_path: Path) -> None:
    where = ("--out", str(tmp_path), "--runs", str(tmp_path / "runs"))
    table = run_script("scripts/algorithm_study.py", *where, "--only", "ds_fl,fed_distill")
    report = json.loads((tmp_path / "algorithms.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {"fedavg", "ds_fl", "fed_distill", "stacked_codistillation"}
    bars = {name: mean for name, (mean, _) in report["controls"].items()}
    with_student = ("fedavg", "ds_fl", "stacked_codistillation")
    students = {name: 100 * report["runs"][f"{name}-0"]["student"] for name in with_student}
    for name, student in students.items():
        covered = (student - bars["public_only"]) / (bars["centralised"] - bars["public_only"])
        assert rows[name]["gap"][0] == pytest.approx(100 * covered)
        assert rows[name]["over_fedavg"][0] == pytest.approx(student - students["fedavg"])
        assert name in table
    # An algorithm without a server's model has no place in these columns.
    assert "student" not in rows["fed_distill"]
    summary = json.loads((tmp_path / "runs/small/ds_fl-0/summary.json").read_text())
    assert rows["ds_fl"]["megabytes_up"] == pytest.approx(summary["bytes_up"] / 1e6)
    assert (tmp_path / "algorithms.png").stat().st_size > 10_000
    # What was run before stays in the table.
    assert algorithms.main([*where, "--only", "fedavg"]) == 0
    assert {row["name"] for row in json.loads((tmp_path / "algorithms.json").read_text())["rows"]} == set(rows)
