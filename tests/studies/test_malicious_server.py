"""The study of a malicious server, small."""

import json
from pathlib import Path

from tests.support.scripts_run import run_script


def test_it_runs_small_and_its_rows_are_those_of_the_audits(tmp_path: Path) -> None:
    where = ("--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1")
    table = run_script("scripts/malicious_server.py", *where)
    report = json.loads((tmp_path / "malicious_server.json").read_text())
    assert [row["setting"] for row in report["rows"]] == ["none", "dp_sgd_8"]
    for row in report["rows"]:
        run = report["runs"][f"{row['setting']}, seed 0"]
        attacks, gains = run["membership"]["attacks"], run["membership"]["gains"]
        assert row["refutations"] == 0
        for name, gain in gains.items():
            # Everybody scored the same candidates here: differences are those of the attacks themselves.
            assert abs(gain["auc_difference"] - attacks["optimised_queries"]["auc"] + attacks[name]["auc"]) < 1e-9
            assert f"{row['gain'][name][0]:+.3f}" in table
        assert row["shares"]["optimised_shares"][0] == run["inference"]["optimised_shares"]["auc"]
        assert attacks["lira_online"]["covered"] == (row["setting"] == "dp_sgd_8")
    assert (tmp_path / "malicious_server.csv").read_text().count("\n") == 3
    assert (tmp_path / "malicious_server.png").stat().st_size > 10_000
