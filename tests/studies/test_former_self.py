"""The study of what clients forget, small."""

import json
from pathlib import Path

import pytest

from tests.support.scripts_run import run_script


def test_it_runs_small_and_clients_forget_less_with_their_former_selves(tmp_path: Path) -> None:
    where = ("--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1")
    table = run_script("scripts/former_self_study.py", *where)
    report = json.loads((tmp_path / "former_self.json").read_text())
    rows = {tuple(row["setting"]): row for row in report["rows"]}
    assert set(rows) == {(0.0, "all"), (3.0, "all"), (3.0, "others")}
    for setting, row in rows.items():
        late = next(run for name, run in report["runs"].items() if name.startswith(("β = 0", "β = 3")))
        assert len(late["server"]) == 3
        assert row["forgotten"][0] == pytest.approx(row["absent_before"][0] - row["absent_after"][0])
        assert f"{row['forgotten'][0]:.1f}" in table, setting
    assert rows[3.0, "others"]["absent_after"][0] > rows[0.0, "all"]["absent_after"][0]
    # All begin from the same model.
    assert len({run["absent_before"][0] for run in report["runs"].values()}) == 1
    assert (tmp_path / "former_self.csv").read_text().count("\n") == 4
    assert (tmp_path / "former_self.png").stat().st_size > 10_000
