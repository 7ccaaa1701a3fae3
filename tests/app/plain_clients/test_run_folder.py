"""The folder of a run: what the server knows of it, written round by round, and read by fedkd's own commands."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ArrayRecord, Message, MetricRecord

from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError, FolderError, RunError
from fedkd.core.messages import parameter_digest
from fedkd.results.directory import RunDirectory
from tests.support.documents import in_process
from tests.support.plain_apps import plain_apps, plain_strategy
from tests.support.plain_grid import PlainGrid

pytestmark = pytest.mark.usefixtures("task_identity", "flower_home")


def rounds(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_it_has_what_the_server_knows_and_fedkd_reads_it(tmp_path: Path) -> None:
    strategy, folder = plain_strategy(out=tmp_path / "run"), tmp_path / "run"

    def evaluate(round: int, arrays: ArrayRecord) -> MetricRecord | None:
        return MetricRecord({"accuracy": round / 4})

    strategy.start(PlainGrid(plain_apps()), num_rounds=2, evaluate_fn=evaluate)
    assert [each["student_accuracy"] for each in rounds(folder)] == [0.25, 0.5]
    assert all(each["validation_accuracy"] is not None and each["teacher_accuracy"] == 1.0 for each in rounds(folder))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    digest = parameter_digest(strategy.student.state_dict())
    assert (summary["student_sha256"], summary["student_accuracy"], summary["clients"]) == (digest, 0.5, 3)
    assert parameter_digest(torch.load(folder / "weights.pt", weights_only=True)) == digest
    assert (lines(folder / "clients.csv"), lines(folder / "distillation.csv")) == (1 + 2 * 3, 1 + 2 * 3)
    assert summary["bytes_up"] == 2 * 3 * 60 * 10 * 4
    in_process(["report", str(folder)], "here")
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in ("50.0%", "no formal guarantee", digest, "fedkd run cannot repeat it"):
        assert words in page
    in_process(["compare", str(folder), str(folder), "--out", str(tmp_path / "page.html")], "here")
    with pytest.raises(ConfigError, match="what LogitDistillation was told in a Flower app"):
        load_config(folder / "config.yaml")
    with pytest.raises(FolderError, match="start that app for another run"):
        RunDirectory(folder).config  # noqa: B018
    with pytest.raises(RunError, match="already holds a run"):
        strategy.start(PlainGrid(plain_apps()), num_rounds=1)


def test_a_round_outlives_a_measurement_that_fails(tmp_path: Path) -> None:
    def evaluate(round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if round == 2:
            raise MemoryError
        return MetricRecord({"accuracy": 0.5})

    with pytest.raises(MemoryError):
        plain_strategy(out=tmp_path / "run").start(PlainGrid(plain_apps()), num_rounds=3, evaluate_fn=evaluate)
    assert [each["student_accuracy"] for each in rounds(tmp_path / "run")] == [0.5, None]


def test_weights_that_do_not_fit_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="initial_arrays: do not fit"):
        plain_strategy(out=tmp_path / "run").start(PlainGrid(plain_apps()), ArrayRecord())
    assert not (tmp_path / "run").exists()


def test_rounds_that_are_finished_outlive_one_that_fails(tmp_path: Path) -> None:
    grid = PlainGrid(plain_apps(), lambda place, reply: reply if len(grid.sent) == 3 else None)
    strategy = plain_strategy(out=tmp_path / "run")
    with pytest.raises(RunError, match=r"round 2: 0 valid replies, min_reports is 1 \(client 0: sent nothing"):
        strategy.start(grid, num_rounds=3)
    assert [each["round"] for each in rounds(tmp_path / "run")] == [1]
    weights = torch.load(tmp_path / "run/weights.pt", weights_only=True)
    assert parameter_digest(weights) == parameter_digest(strategy.student.state_dict())
    in_process(["report", str(tmp_path / "run")], "here")


def test_replies_that_are_not_valid_are_in_it_with_their_reasons(tmp_path: Path) -> None:
    def change(place: int, reply: Message) -> Message:
        return grid.error(1, "out of memory") if place == 1 else reply

    grid = PlainGrid(plain_apps(), change)
    plain_strategy(out=tmp_path / "run").start(grid, num_rounds=1)
    (record,) = rounds(tmp_path / "run")
    assert record["clients"] == [0, 1, 2]
    assert [each["reason"] for each in record["failures"]] == ["out of memory"]
