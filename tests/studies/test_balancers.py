"""The study of policies for λ, small."""

import json
from pathlib import Path

import pytest
from studies import balancers

from fedkd.config.schema import DistillationConfig
from tests.support.scripts_run import run_script


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("lambda")
    return "--out", str(folder), "--runs", str(folder / "runs")


def test_the_lambda_study_runs_small(where: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    out = Path(where[1])
    table = run_script("scripts/lambda_study.py", "--seeds", "0", *where)
    report = json.loads((out / "lambda_study.json").read_text())
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
    assert (out / "lambda_study.png").stat().st_size > 10_000
    # Everything is kept: a second call only writes the tables again.
    assert balancers.main(["--seeds", "0", *where]) == 0
    assert capsys.readouterr().out == table


def test_the_lambda_study_chooses_its_default_by_validation(
    where: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert balancers.main(["--tune", *where]) == 0
    output = capsys.readouterr().out
    report = json.loads((Path(where[1]) / "lambda_tuning.json").read_text())
    assert report["seeds"] == [100]
    scores = report["validation_accuracy"]
    assert DistillationConfig().balancer.name in {name.split()[0] for name in scores}
    for policy, values in report["by_cell_and_seed"].items():
        assert scores[policy] == pytest.approx(sum(values) / 2)
    best = output.splitlines()[1]
    assert best.startswith(max(scores, key=lambda policy: scores[policy]))
    assert f"{max(scores.values()):.2f} %" in best
