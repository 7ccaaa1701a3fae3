"""One configuration over seeds, and the accuracy of the first-order prediction."""

import json
from pathlib import Path

import pytest
from studies import repeat
from studies.repeat import _gap_closed

from tests.support.scripts_run import run_script

TINY = (
    *("engine.kind=inline", "engine.workers=1", "rounds=2", "clients.count=2"),
    *("data.private_size=60", "data.public.size=40"),
    *("data.public.labelled=20", "distillation.steps=3", "student.model=mlp"),
    "controls=[fedavg,public_only,centralised]",
)


def test_a_configuration_is_repeated_over_seeds(tmp_path: Path) -> None:
    rival_setting = ("--rival", "no teacher: distillation.balancer={name: fixed, value: 0}")
    command = ("configs/quickstart.yaml", *TINY, "--seeds", "3,4", "--runs", str(tmp_path / "runs"), *rival_setting)
    output = run_script("scripts/repeat.py", *command, "--out", str(tmp_path / "repeated"))
    report = json.loads((tmp_path / "repeated.json").read_text())
    summaries = [json.loads((tmp_path / f"runs/seed={seed}/summary.json").read_text()) for seed in (3, 4)]
    assert report["seeds"] == [3, 4]
    assert report["accuracy"]["student"]["values"] == [100 * summary["student_accuracy"] for summary in summaries]
    lead = sum(100 * (each["student_accuracy"] - each["controls"]["fedavg"]) for each in summaries) / 2
    assert report["student_lead"]["fedavg"][0] == pytest.approx(lead)
    assert any(f"{-lead:+.2f}" in line for line in output.splitlines() if line.startswith("fedavg"))
    rival = [json.loads((tmp_path / f"runs/rival no teacher/seed={seed}/summary.json").read_text()) for seed in (3, 4)]
    assert report["accuracy"]["no teacher"]["values"] == [100 * summary["student_accuracy"] for summary in rival]
    assert report["rivals"] == {"no teacher": "distillation.balancer={name: fixed, value: 0}"}
    gained = [100 * (each["student_accuracy"] - each["controls"]["public_only"]) for each in summaries]
    way = [100 * (each["controls"]["centralised"] - each["controls"]["public_only"]) for each in summaries]
    shares = [100 * ours / whole for ours, whole in zip(gained, way, strict=True)]
    for key, values in (("gap_closed", shares), ("gap_closed_points", gained)):
        interval = report[key]
        assert interval["mean"] == pytest.approx(sum(values) / 2)
        # Student's t of one degree of freedom, over two values.
        assert interval["high"] - interval["mean"] == pytest.approx(12.7062 * abs(values[0] - values[1]) / 2, rel=1e-4)
        assert interval["low"] + interval["high"] == pytest.approx(2 * interval["mean"])
        assert interval["seeds"] == 2
    assert report["megabytes_down"] == [each["bytes_down"] / 1e6 for each in summaries]
    assert report["student_sha256"] == {
        str(seed): summary["student_sha256"] for seed, summary in zip((3, 4), summaries, strict=True)
    }
    assert len(set(report["student_sha256"].values())) == 2
    assert report["by_round"]["student"][1][0] == pytest.approx(report["accuracy"]["student"]["mean_ci95"][0])
    rows = (tmp_path / "repeated.csv").read_text().splitlines()
    # Five curves of two rounds, and five final values.
    assert len(rows) == 1 + 5 * 2 + 5
    assert (tmp_path / "repeated.png").stat().st_size > 10_000
    # Finished runs are not run again.
    times = [(tmp_path / f"runs/seed={seed}/summary.json").stat().st_mtime_ns for seed in (3, 4)]
    assert repeat.main([*command, "--out", str(tmp_path / "again")]) == 0
    assert times == [(tmp_path / f"runs/seed={seed}/summary.json").stat().st_mtime_ns for seed in (3, 4)]
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["accuracy"] == report["accuracy"]


def test_taylors_prediction_holds_at_small_rates_and_ends_at_large_ones(tmp_path: Path) -> None:
    output = run_script("scripts/taylor_fidelity.py", "--out", str(tmp_path), "--steps", "12")
    report = json.loads((tmp_path / "taylor_fidelity.json").read_text())
    ratios = dict(zip(report["rates"], report["median_ratio"], strict=True))
    assert len(ratios) == 17
    assert all(abs(ratio - 1) < 0.015 for rate, ratio in ratios.items() if rate < 4e-4)
    assert all(abs(ratio - 1) > 0.05 for rate, ratio in ratios.items() if 0.01 <= rate < 0.1)
    assert 3e-4 < report["holds_to"] < 6e-3
    assert f"up to a learning rate of {report['holds_to']:.2g}" in output
    assert (tmp_path / "taylor_fidelity.png").stat().st_size > 10_000


def test_there_is_no_share_of_a_way_that_does_not_lead_up() -> None:
    results = {"student": [80.0, 90.0], "public_only": [70.0, 85.0], "centralised": [90.0, 85.0]}
    found = _gap_closed(results)
    assert "gap_closed" not in found
    assert found["gap_closed_points"]["mean"] == pytest.approx(7.5)
