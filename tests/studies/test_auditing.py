"""The study of audits, small."""

import json
from pathlib import Path

import pytest

from tests.support.scripts_run import run_script


def test_it_runs_small_and_refutes_what_is_wrong(tmp_path: Path) -> None:
    where = ("--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1")
    table = run_script("scripts/audit_study.py", *where)
    report = json.loads((tmp_path / "audit_study.json").read_text())
    claim = report["claim"]["epsilon"]
    assert claim == pytest.approx(2.943, abs=1e-3)
    correct = {row["mechanism"]: row["bounds"][0] for row in report["mechanisms"] if row["fault"] == "correct"}
    for row in report["mechanisms"]:
        (bound,) = row["bounds"]
        assert row["refuted"] == (bound > claim)
        if row["fault"] == "correct":
            assert bound < claim
        elif row["mechanism"] == "gnmax":
            # So few trials do not refute the claim of a vote with any fault.
            assert bound > correct["gnmax"] + 1, row
        else:
            assert bound > claim, row
        assert f"{bound:.2f}" in table
    (row,) = report["memorising"]
    for name, (mean, _) in row["auc"].items():
        audit = json.loads((tmp_path / "runs/small/memorising-0-0/audit.json").read_text())
        assert mean == next(each["auc"] for each in audit["attacks"] if each["attack"] == name)
