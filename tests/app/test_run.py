"""Whole experiments on embedded real data: what they write, that they repeat, and that engines do not matter."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.messages import parameter_digest
from fedkd.results.observer import Silent
from fedkd.results.records import Overview, RoundRecord, Summary
from fedkd.results.report.figures import run_figures
from tests.support.drawn_figures import figures_drawn

SMALL: dict[str, Any] = {
    "seed": 3,
    "rounds": 2,
    "data": {"private_size": 300, "public": {"size": 200, "labelled": 60}, "partition": {"alpha": 0.5}},
    "clients": {"count": 5},
    "distillation": {"steps": 30},
    "engine": {"kind": "inline"},
}


def run(out: Path, *overrides: str, observer: Silent | None = None) -> Summary:
    return run_experiment(load_config(SMALL, overrides), out, observer).summary


def rounds_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


def student_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = checkpoint["server"]["rule"]["distiller"]["student"]
    return state


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("reference") / "run"
    with figures_drawn():
        return out, run(out, "controls=[public_only,local_only,fedavg,centralised,teacher_only]")


def test_the_run_directory_holds_what_is_promised(reference: tuple[Path, Summary]) -> None:
    out, summary = reference
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["clients"]["count"] == 5
    assert config["distillation"]["balancer"]["name"] == "task_decrease"
    rounds = rounds_of(out)
    assert [row["round"] for row in rounds] == [1, 2]
    assert rounds[-1]["student_accuracy"] == summary.student_accuracy
    assert rounds[-1]["validation"]["accuracy"] == rounds[-1]["validation_accuracy"]
    assert rounds[-1]["validation"]["samples"] == 12
    assert "Too few validation samples" in rounds[-1]["diagnosis"]["text"]
    with (out / "distillation.csv").open() as file:
        steps = list(csv.DictReader(file))
    columns = "round,step,lambda,loss_dist,loss_cls,norm_dist,norm_cls,cos,predicted_decrease,measured_decrease"
    assert ",".join(steps[0]).startswith(columns)
    assert [(int(row["round"]), int(row["step"])) for row in steps] == [(r, s) for r in (1, 2) for s in range(30)]
    assert all(0 <= float(row["lambda"]) <= 1 and -1 <= float(row["cos"]) <= 1 for row in steps)
    saved = json.loads((out / "summary.json").read_text())
    assert set(saved) >= {
        *("student_accuracy", "teacher_accuracy", "controls", "bytes_up", "bytes_down", "epsilon", "delta"),
        *("rounds", "clients", "failures", "wall_seconds", "student_sha256", "versions"),
    }
    assert saved["student_sha256"] == summary.student_sha256
    plots = {path.stem for path in (out / "plots").glob("*.png") if path.stat().st_size > 1000}
    assert plots >= {"label_distribution", "accuracy", "lambda", "gradients", "decrease_curves", "taylor_fidelity"}


def test_the_newest_two_checkpoints_are_kept_and_hold_the_student(reference: tuple[Path, Summary]) -> None:
    out, summary = reference
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["round_00001.pt", "round_00002.pt"]
    state = torch.load(out / "checkpoints" / "round_00002.pt", weights_only=True)
    assert parameter_digest(student_of(state)) == summary.student_sha256


def test_controls_are_where_theory_puts_them(reference: tuple[Path, Summary]) -> None:
    _, summary = reference
    assert set(summary.controls) == {"public_only", "local_only", "fedavg", "centralised", "teacher_only"}
    assert summary.controls["centralised"] > summary.controls["local_only"]
    assert summary.student_accuracy is not None
    assert summary.student_accuracy > summary.controls["local_only"]
    assert [len(summary.control_history[name]) for name in ("public_only", "fedavg", "centralised")] == [2, 2, 2]


def test_traffic_is_counted(reference: tuple[Path, Summary]) -> None:
    out, summary = reference
    # 5 clients × (200 samples × 10 classes × 4 bytes + 1), in each of two rounds.
    assert summary.bytes_up == 2 * 5 * (200 * 10 * 4 + 1)
    state = torch.load(out / "checkpoints" / "round_00002.pt", weights_only=True)
    parameters = sum(tensor.numel() * 4 for tensor in student_of(state).values())
    assert summary.bytes_down == 2 * 5 * (parameters + 8)
    assert (summary.epsilon, summary.failures) == (None, 0)


def test_the_resolved_config_reproduces_the_run(reference: tuple[Path, Summary], tmp_path: Path) -> None:
    out, summary = reference
    again = run_experiment(load_config(out / "config.yaml", ["controls=[]"]), tmp_path / "run").summary
    assert again.student_sha256 == summary.student_sha256
    assert (tmp_path / "run" / "rounds.jsonl").read_bytes() == (out / "rounds.jsonl").read_bytes()
    assert (tmp_path / "run" / "distillation.csv").read_bytes() == (out / "distillation.csv").read_bytes()


def test_another_seed_gives_another_student(reference: tuple[Path, Summary], tmp_path: Path) -> None:
    assert run(tmp_path / "run", "seed=4").student_sha256 != reference[1].student_sha256


@pytest.mark.parametrize(
    "overrides",
    [("engine.workers=1",), ("engine.workers=2", "engine.clients_per_node=1")],
    ids=lambda overrides: " ".join(overrides),
)
def test_ray_gives_the_inline_engines_student_bit_for_bit(
    reference: tuple[Path, Summary], tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    out, summary = reference
    found = run(tmp_path / "run", "engine.kind=ray", *overrides)
    assert found.student_sha256 == summary.student_sha256
    assert rounds_of(tmp_path / "run") == rounds_of(out)


def test_more_workers_than_cores_and_uneven_cohorts_change_nothing_either(tmp_path: Path) -> None:
    many = ("clients.count=9", "rounds=1")
    one = run(tmp_path / "one", *many)
    found = run(tmp_path / "four", *many, "engine.kind=ray", "engine.workers=4", "engine.clients_per_node=7")
    assert found.student_sha256 == one.student_sha256
    assert rounds_of(tmp_path / "four") == rounds_of(tmp_path / "one")


def test_a_second_run_in_the_same_directory_is_refused(reference: tuple[Path, Summary]) -> None:
    out, _ = reference
    before = (out / "rounds.jsonl").read_bytes()
    with pytest.raises(RunError, match="already holds a run"):
        run(out)
    assert (out / "rounds.jsonl").read_bytes() == before


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        run(tmp_path / "file" / "run")


def test_a_part_of_the_clients_and_of_the_public_set_per_round(tmp_path: Path) -> None:
    summary = run(tmp_path / "run", "clients.fraction=0.4", "data.public.round_size=50")
    rounds = rounds_of(tmp_path / "run")
    assert all(len(row["clients"]) == 2 for row in rounds)
    # 60 labelled and validation samples, and 50 others.
    assert summary.bytes_up == 2 * 2 * (110 * 10 * 4 + 1)


def test_without_labels_lambda_is_one_and_a_fitted_teacher_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", "data.public.labelled=0", "strategy.name=mean_probabilities")
    assert all(row["mean_lambda"] == 1.0 and row["validation_accuracy"] is None for row in rounds_of(tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"strategy.name: stacked is fitted on labelled"):
        run(tmp_path / "other", "data.public.labelled=0")


RAISES = '                raise OSError("out of disk")'
BROKEN_CLIENT = """
import torch
from fedkd.client import ClientBehaviour, Upload

class Broken(ClientBehaviour):
    def respond(self, work, rule):
        if work.round == 2 and work.client in (1, 3):
            if work.client == 1:
                raise OSError("out of disk")
            return Upload(logits=torch.full((len(work.queries), 10), float("nan")))
        return rule.respond(work)
"""


def test_failing_clients_are_dropped_with_a_reason_and_too_many_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_client.py").write_text(BROKEN_CLIENT)
    monkeypatch.syspath_prepend(tmp_path)
    run(tmp_path / "run", "clients.behaviour.name=broken_client:Broken")
    first, second = rounds_of(tmp_path / "run")
    assert first["failures"] == []
    # The line of the client's own code, which the last frames, fedkd's or torch's, would hide.
    where = f"{tmp_path / 'broken_client.py'}:{BROKEN_CLIENT.splitlines().index(RAISES) + 1}"
    assert [(row["client"], row["reason"].split(";")[0]) for row in second["failures"]] == [
        (1, f"OSError: out of disk ({where})"),
        (3, "ValueError: logits must be finite as float32"),
    ]
    kept = sorted((tmp_path / "run" / "failures").iterdir())
    assert [path.name for path in kept] == [f"round_00002_client_00000{client}.txt" for client in (1, 3)]
    assert kept[0].read_text().startswith("Traceback (most recent call last)")
    assert kept[0].read_text().endswith("OSError: out of disk\n")
    told = r"round 2: 3 valid reports, clients.min_reports is 4(.|\n)*tracebacks of 2 clients are in .*failures"
    with pytest.raises(RunError, match=told):
        run(tmp_path / "strict", "clients.behaviour.name=broken_client:Broken", "clients.min_reports=4")
    assert len(rounds_of(tmp_path / "strict")) == 1
    assert (tmp_path / "strict" / "checkpoints" / "round_00001.pt").exists()


class Recorder(Silent):
    def __init__(self) -> None:
        self.events: list[str] = []

    def started(self, overview: Overview) -> None:
        self.events.append("started")

    def progress(self, stage: str, done: int, total: int) -> None:
        if self.events[-1] != stage:
            self.events.append(stage)

    def round_ended(self, record: RoundRecord, seconds: float) -> None:
        self.events.append(f"round {record.round}")

    def control_ended(self, name: str, accuracy: float) -> None:
        self.events.append(f"{name} ended")

    def finished(self, summary: Summary, overview: Overview) -> None:
        self.events.append("finished")


def test_an_observer_sees_the_events_in_order(tmp_path: Path) -> None:
    recorder = Recorder()
    run(tmp_path / "run", "controls=[public_only]", observer=recorder)
    assert recorder.events == [
        "started",
        *("clients", "distillation", "round 1"),
        *("clients", "distillation", "round 2"),
        *("public_only", "public_only ended", "finished"),
    ]


@pytest.mark.usefixtures("drawn_figures")
def test_figures_that_cannot_be_drawn_are_told_of_and_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ValueError("no such font")

    monkeypatch.setattr("fedkd.results.report.figures._label_distribution.draw_label_distribution", fail)
    monkeypatch.setitem(run_figures._DRAWN_BY, "lambda", fail)
    told: list[str] = []

    class Listener(Silent):
        def noticed(self, text: str) -> None:
            told.append(text)

    summary = run(tmp_path / "run", observer=Listener())
    assert summary.rounds == 2
    assert [line.partition(" could")[0] for line in told] == ["the figure label_distribution", "the figure lambda"]
    assert {path.stem for path in (tmp_path / "run" / "plots").iterdir()} == {
        *("accuracy", "gradients", "decrease_curves", "taylor_fidelity")
    }


def test_figures_that_nobody_wants_are_not_drawn_before_somebody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = load_config(SMALL, ["rounds=1"]), tmp_path / "run"
    monkeypatch.setenv("FEDKD_FIGURES", "0")
    for resume in (False, True):
        run_experiment(config, out, resume=resume)
        assert not (out / "plots").exists()
    monkeypatch.delenv("FEDKD_FIGURES")
    run_experiment(config, out, resume=True)
    assert len(list((out / "plots").glob("*.png"))) == 6


def test_a_student_that_diverges_ends_the_run_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"must be finite, .*; lower distillation\.learning_rate"):
        run(tmp_path / "run", "distillation.learning_rate=1e16")
    assert (tmp_path / "run/config.yaml").is_file()
    assert not (tmp_path / "run/traceback.txt").exists()
