"""The study of tasks learned in sequence, small."""

import csv
import json
from pathlib import Path

import pytest
from studies import continual

ROWS = [
    {"tasks": 2, "learner": "former_self", "lambda": 0.2, "of_rehearsal": (80.4, 1.0), "new_lost": (1.0, 0.5)},
    {"tasks": 2, "learner": "former_self", "lambda": 0.5, "of_rehearsal": (45.0, 1.0), "new_lost": (3.04, 1.0)},
    {"tasks": 2, "learner": "rehearsal", "lambda": None, "of_rehearsal": (100.0, 0.0), "new_lost": (0.0, 0.0)},
    {"tasks": 5, "learner": "former_self", "lambda": 0.5, "of_rehearsal": (70.0, 1.0), "new_lost": (2.0, 1.0)},
]


def test_the_answer_has_what_is_forgotten_and_its_price() -> None:
    assert continual.answer(ROWS, 2) == (
        "2 tasks: of what rehearsal forgets, the former self still forgets 80 % at λ = 0.2, for 1.0 points on a new "
        "task; 45 % at λ = 0.5, for 3.0 points on a new task"
    )


@pytest.mark.usefixtures("drawn_figures")
def test_the_study_runs_small_and_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(continual, "COUNTS", (2,))
    monkeypatch.setattr(continual, "LAMBDAS", (0.5,))
    where = ["--out", str(tmp_path), "--runs", str(tmp_path / "runs"), "--workers", "1"]
    assert continual.main(where) == 0
    report = json.loads((tmp_path / "continual.json").read_text(encoding="utf-8"))
    result = json.loads((tmp_path / "runs/small/2-0.5-0/continual.json").read_text(encoding="utf-8"))
    rows = {row["learner"]: row for row in report["rows"]}
    assert list(rows) == ["fine_tuning", "rehearsal", "former_self", "joint"]
    for name, found in result["learners"].items():
        assert rows[name]["forgetting"][0] == pytest.approx(100 * found["average_forgetting"])
        assert rows[name]["average"][0] == pytest.approx(100 * found["average_accuracy"])
        within = found["accuracy_within_task"]
        assert rows[name]["within"][0] == pytest.approx(100 * (within[0][0] - within[1][0]))
    lost = rows["rehearsal"]["new"][0] - rows["former_self"]["new"][0]
    assert rows["former_self"]["new_lost"][0] == pytest.approx(lost)
    assert rows["joint"]["average"][0] == pytest.approx(100 * result["joint"]["average_accuracy"])
    with (tmp_path / "continual.csv").open(encoding="utf-8", newline="") as file:
        assert [row["learner"] for row in csv.DictReader(file)] == list(rows)
    assert (tmp_path / "continual.png").stat().st_size > 10_000
    assert "2 tasks: of what rehearsal forgets" in capsys.readouterr().out
    # What is finished is not done again.
    assert continual.main([*where, "--seeds", "0"]) == 0
