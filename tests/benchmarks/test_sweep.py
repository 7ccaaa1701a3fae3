"""The benchmark of a sweep runs both sides, and tells when they differ."""

import json
from pathlib import Path

import pytest
from benchmarks import sweep

TINY = sweep.SETTING | {
    "rounds": 1,
    "data": {"private_size": 60, "public": {"size": 60, "labelled": 40}},
    "clients": {"count": 2},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "distillation": {"steps": 2},
    "controls": ["public_only"],
    "engine": {"kind": "inline"},
}


def test_it_compares_a_sweep_with_its_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "GRID", {"strategy.name": ["mean_probabilities", "median"]})
    found = sweep.compared(tmp_path, TINY, (0,))
    assert found["cells"] == 2
    assert found["ratio"] == found["runs_seconds"] / found["sweep_seconds"] > 0
    assert found["cpu_ratio"] > 0
    path = tmp_path / "sweep/sweep.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["cells"][0]["student_sha256"] = "0" * 64
    path.write_text(json.dumps(content), encoding="utf-8")
    assert sweep.table(tmp_path / "sweep") != sweep.table(tmp_path / "runs")
