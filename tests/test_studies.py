"""Studies: results survive an interruption, intervals are honest, and the shipped scripts run."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedkd.config import DistillationConfig
from fedkd.studies import Results, mean_and_ci, run_tasks

ROOT = Path(__file__).parent.parent


def test_a_mean_and_its_interval_by_hand() -> None:
    # Standard deviation 1, three values: half-width t(0.975, 2)/√3 = 4.3027/1.7321.
    assert mean_and_ci([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.4842), rel=1e-4)
    assert mean_and_ci([5.0]) == (5.0, math.inf)


def test_finished_tasks_are_not_done_again_and_a_torn_line_is_forgiven(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = Results(path)
    run_tasks(divmod, [(7, 2), (9, 4)], results, workers=1)
    with path.open("a") as file:
        file.write('{"task": [8, 3], "resu')
    again = Results(path)
    assert (7, 2) in again
    assert (8, 3) not in again
    assert again[9, 4] == [2, 1]
    seen: list[tuple[int, int]] = []
    run_tasks(divmod, [(7, 2), (8, 3), (9, 4)], again, workers=1, progress=lambda *at: seen.append(at))
    assert seen == [(1, 1)]
    assert again[8, 3] == [2, 2]
    assert Results(path)[8, 3] == [2, 2]


def test_a_failing_task_ends_the_study_and_keeps_the_rest(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    with pytest.raises(ZeroDivisionError):
        run_tasks(divmod, [(7, 2), (1, 0)], results, workers=1)
    assert (7, 2) in Results(tmp_path / "results.jsonl")


def run_script(*arguments: str) -> str:
    found = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_lambda_study_runs_small(tmp_path: Path) -> None:
    command = ("scripts/lambda_study.py", "--out", str(tmp_path), "--cache", str(tmp_path / "cache"))
    table = run_script(*command)
    report = json.loads((tmp_path / "lambda_study.json").read_text())
    assert set(report["default_regret"]) == {
        "alpha=0.1 labelled=100 mean_probabilities",
        "alpha=0.1 labelled=100 stacked",
    }
    for cell, policy in report["best_fixed"].items():
        assert report["regret"][policy][cell] == 0.0
        fixed = [each[cell] for name, each in report["mean"].items() if name.startswith("fixed ")]
        assert report["mean"][policy][cell] == max(fixed)
    assert report["default"] in table
    assert report["policies"][report["default"]]["name"] == DistillationConfig().balancer.name
    assert (tmp_path / "lambda_study.png").stat().st_size > 10_000
    # Everything is cached: a second call only writes the tables again.
    assert run_script(*command) == table


def test_the_balancer_benchmark_prints_flat_json() -> None:
    found = json.loads(run_script("scripts/benchmark.py", "balancer", "--json", "--repeats", "3"))
    assert {"default_ratio", "exact_ratio"} <= set(found)
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_the_privacy_benchmark_prints_flat_json() -> None:
    found = json.loads(run_script("scripts/benchmark.py", "privacy", "--json", "--repeats", "1"))
    assert {"dp_sgd_ratio", "opacus_ratio"} <= set(found)
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_the_stacking_benchmark_prints_flat_json() -> None:
    found = json.loads(run_script("scripts/benchmark.py", "stacked", "--json", "--repeats", "1"))
    assert found.pop("on_gpu") in (0.0, 1.0)
    assert {name.partition("_")[0] for name in found} >= {"cnn", "mlp"}
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_the_lambda_study_chooses_its_default_by_validation(tmp_path: Path) -> None:
    output = run_script("scripts/lambda_study.py", "--tune", "--out", str(tmp_path), "--cache", str(tmp_path / "cache"))
    report = json.loads((tmp_path / "lambda_tuning.json").read_text())
    assert report["seeds"] == [100]
    scores = report["validation_accuracy"]
    assert DistillationConfig().balancer.name in {name.split()[0] for name in scores}
    for policy, values in report["by_cell_and_seed"].items():
        assert scores[policy] == pytest.approx(sum(values) / 2)
    best = output.splitlines()[0]
    assert best.startswith(max(scores, key=lambda policy: scores[policy]))
    assert f"{max(scores.values()):.2f} %" in best


TINY = (
    *("engine.kind=inline", "rounds=2", "clients.count=2", "data.private_size=60", "data.public.size=40"),
    *("data.public.labelled=20", "distillation.steps=3", "student.model=mlp", "controls=[fedavg,public_only]"),
)


def test_a_configuration_is_repeated_over_seeds(tmp_path: Path) -> None:
    where = ("--runs", str(tmp_path / "runs"))
    command = ("scripts/repeat.py", "configs/quickstart.yaml", *TINY, "--seeds", "3,4", *where)
    output = run_script(*command, "--out", str(tmp_path / "repeated"))
    report = json.loads((tmp_path / "repeated.json").read_text())
    summaries = [json.loads((tmp_path / f"runs/seed={seed}/summary.json").read_text()) for seed in (3, 4)]
    assert report["seeds"] == [3, 4]
    assert report["accuracy"]["student"]["values"] == [100 * summary["student_accuracy"] for summary in summaries]
    lead = sum(100 * (each["student_accuracy"] - each["controls"]["fedavg"]) for each in summaries) / 2
    assert report["student_lead"]["fedavg"][0] == pytest.approx(lead)
    assert any(f"{lead:+.2f}" in line for line in output.splitlines() if line.startswith("fedavg"))
    assert report["student_sha256"] == {
        str(seed): summary["student_sha256"] for seed, summary in zip((3, 4), summaries, strict=True)
    }
    assert len(set(report["student_sha256"].values())) == 2
    assert report["by_round"]["student"][1][0] == pytest.approx(report["accuracy"]["student"]["mean_ci95"][0])
    rows = (tmp_path / "repeated.csv").read_text().splitlines()
    # Three curves of two rounds, and three final values.
    assert len(rows) == 1 + 3 * 2 + 3
    assert (tmp_path / "repeated.png").stat().st_size > 10_000
    # Finished runs are not run again.
    times = [(tmp_path / f"runs/seed={seed}/summary.json").stat().st_mtime_ns for seed in (3, 4)]
    run_script(*command, "--out", str(tmp_path / "again"))
    assert times == [(tmp_path / f"runs/seed={seed}/summary.json").stat().st_mtime_ns for seed in (3, 4)]
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["accuracy"] == report["accuracy"]


def test_taylors_prediction_holds_at_small_rates_and_ends_at_large_ones(tmp_path: Path) -> None:
    output = run_script("scripts/taylor_fidelity.py", "--out", str(tmp_path / "taylor"), "--steps", "12")
    report = json.loads((tmp_path / "taylor.json").read_text())
    ratios = dict(zip(report["rates"], report["median_ratio"], strict=True))
    assert len(ratios) == 17
    assert all(abs(ratio - 1) < 0.015 for rate, ratio in ratios.items() if rate < 4e-4)
    assert all(abs(ratio - 1) > 0.05 for rate, ratio in ratios.items() if 0.01 <= rate < 0.1)
    assert 3e-4 < report["holds_to"] < 6e-3
    assert f"up to a learning rate of {report['holds_to']:.2g}" in output
    assert (tmp_path / "taylor.png").stat().st_size > 10_000


def test_the_algorithm_study_runs_small_and_adds_up(tmp_path: Path) -> None:
    command = ("scripts/algorithm_study.py", "--out", str(tmp_path), "--runs", str(tmp_path / "runs"))
    table = run_script(*command, "--only", "ds_fl,fed_distill")
    report = json.loads((tmp_path / "algorithms.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert set(rows) == {"fedavg", "ds_fl", "fed_distill"}
    bars = {name: mean for name, (mean, _) in report["controls"].items()}
    students = {name: 100 * report["runs"][f"{name}-0"]["student"] for name in ("fedavg", "ds_fl")}
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
    run_script(*command, "--only", "fedavg")
    assert {row["name"] for row in json.loads((tmp_path / "algorithms.json").read_text())["rows"]} == set(rows)


def test_the_memory_of_many_clients_is_measured_on_top_of_the_libraries() -> None:
    small = ("--clients", "4", "--rounds", "1", "--models", "cnn,mlp", "--samples", "10", "--dataset", "digits")
    found = json.loads(run_script("scripts/memory.py", *small, "--json"))
    assert found["failures"] == 0
    assert found["peak_gb"] == pytest.approx(found["libraries_gb"] + found["on_top_of_libraries_gb"])
    assert 0 < found["on_top_of_libraries_gb"] < found["libraries_gb"]
