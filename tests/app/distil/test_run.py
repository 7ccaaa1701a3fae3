"""One network distilled into another: what is trained on what, resuming, and bad input."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from fedkd.app.cli import main as cli
from fedkd.app.distil import distil_network
from fedkd.app.distil.checks import check
from fedkd.app.distil.training import labelled_samples
from fedkd.app.run import run_experiment
from fedkd.app.runs import Run
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError, FolderError
from fedkd.core.messages import parameter_digest
from fedkd.models import accuracy
from fedkd.results.observer import Silent

TINY: dict[str, Any] = {
    "rounds": 2,
    "data": {"private_size": 100, "public": {"size": 200, "labelled": 60}},
    "clients": {"count": 4},
    "teacher": {"model": "cnn", "epochs": 2},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "distillation": {"steps": 5},
}


def tiny(*changes: str) -> ExperimentConfig:
    return load_config(TINY, changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    out = tmp_path_factory.mktemp("distilled") / "run"
    return distil_network(tiny(), out), out


def test_the_folder_holds_what_was_made(done: tuple[Run, Path]) -> None:
    found, out = done
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    data = found.experiment.data
    for name, model in (
        ("teacher", found.teacher()),
        ("student", found.student()),
        ("student_without_teacher", found.student_without_teacher()),
    ):
        state = torch.load(out / f"{name}.pt", weights_only=True)
        assert parameter_digest(state) == parameter_digest(model.state_dict())
        assert result[f"{name}_accuracy"] == accuracy(model, data.test_inputs, data.test_labels)
    assert result["student_history"][-1] == result["student_accuracy"]
    assert len(result["student_history"]) == 2
    assert result["student_sha256"] == parameter_digest(found.student().state_dict())
    lines = (out / "distillation.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 2 * 5
    assert lines[0].startswith("round,step,lambda")
    assert load_config(out / "config.yaml") == found.experiment.config


def test_the_teacher_learns_from_all_labelled_samples_or_from_the_public_ones() -> None:
    config = tiny()
    experiment, _ = check(config)
    data = experiment.data
    everything, labels = labelled_samples(experiment, everything=True)
    pooled = sum(client.train.numel() for client in data.clients)
    assert len(labels) == len(everything) == pooled + data.public.labelled.numel()
    few, labels = labelled_samples(experiment, everything=False)
    assert torch.equal(few, data.public.inputs[data.public.labelled])
    assert bool((labels >= 0).all())
    # Nobody learns from the server's validation samples.
    held_out = data.public.inputs[data.public.validation]
    assert not any(bool((few == each).flatten(1).all(dim=1).any()) for each in held_out)


def test_the_same_again(done: tuple[Run, Path], tmp_path: Path) -> None:
    again = distil_network(tiny("engine.kind=inline"), tmp_path / "again")
    assert again.result["student_sha256"] == done[0].result["student_sha256"]


class Dying(Silent):
    """Ends the distillation in a stage."""

    def __init__(self, stage: str) -> None:
        self.stages: list[str] = []
        self._stage = stage

    def progress(self, stage: str, done: int, total: int) -> None:
        self.stages.append(stage)
        if stage == self._stage and done == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["distillation", "student without teacher"])
def test_what_is_finished_is_not_trained_again(stage: str, done: tuple[Run, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        distil_network(tiny(), out, Dying(stage))
    with pytest.raises(ConfigError, match="add --resume"):
        distil_network(tiny(), out)
    watcher = Dying("")
    resumed = distil_network(tiny(), out, watcher, resume=True)
    assert "teacher" not in watcher.stages
    assert ("distillation" in watcher.stages) == (stage == "distillation")
    for key in ("student_sha256", "teacher_accuracy", "student_accuracy", "student_without_teacher_accuracy"):
        assert resumed.result[key] == done[0].result[key]


def test_a_network_that_was_changed_is_not_taken(tmp_path: Path) -> None:
    out = tmp_path / "run"
    distil_network(tiny("distillation.steps=1", "teacher.epochs=1"), out)
    (out / "teacher.pt").write_bytes((out / "student.pt").read_bytes())
    with pytest.raises(FolderError, match=r"was changed since it was written; remove .*stages\.json"):
        distil_network(tiny("distillation.steps=1", "teacher.epochs=1"), out, resume=True)
    with pytest.raises(ConfigError, match="is another configuration"):
        distil_network(tiny("distillation.steps=2", "teacher.epochs=1"), out, resume=True)


def test_a_teacher_that_is_loaded_stays_as_it_is(done: tuple[Run, Path], tmp_path: Path) -> None:
    given = done[1] / "teacher.pt"
    found = distil_network(tiny("teacher.epochs=0", f"teacher.init={given}"), tmp_path / "loaded")
    assert parameter_digest(found.teacher().state_dict()) == parameter_digest(done[0].teacher().state_dict())
    assert found.result["student_sha256"] == done[0].result["student_sha256"]


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path, done: tuple[Run, Path]) -> None:
    state = torch.load(done[1] / "teacher.pt", weights_only=True)
    head = [name for name in state if state[name].shape[:1] == (10,)]
    torch.save(state | {name: torch.cat([state[name], state[name][:1]]) for name in head}, tmp_path / "eleven.pt")
    with pytest.raises(ConfigError, match=r"teacher\.init: .*eleven\.pt cannot be used: .*\[11") as caught:
        distil_network(tiny("teacher.epochs=0", f"teacher.init={tmp_path / 'eleven.pt'}"), tmp_path / "run")
    assert "[10" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    layers = "{name: tests.support.squares:Squares, layers: {nowhere: also}}"
    with pytest.raises(ConfigError) as caught:
        distil_network(tiny(f"distillation.loss=[kl,{layers},{layers}]"), tmp_path / "run")
    first, second = caught.value.problems
    assert first.startswith("distillation.loss.1: tests.support.squares:Squares: no layer 'nowhere'")
    assert second.startswith("distillation.loss.2")
    with pytest.raises(ConfigError) as caught:
        distil_network(tiny("teacher.model=resnet18", "student.model=no_such", "teacher.epochs=0"), tmp_path / "run")
    assert len(caught.value.problems) == 2
    private = "privacy.mechanism={name: gaussian_logits, noise_multiplier: 1.0}"
    with pytest.raises(ConfigError) as caught:
        distil_network(replace(tiny(private, "privacy.secure_aggregation={}"), teacher=None), tmp_path / "run")
    keys = [problem.partition(":")[0] for problem in caught.value.problems]
    assert keys == ["privacy.mechanism", "privacy.secure_aggregation", "teacher"]
    assert not (tmp_path / "run").exists()


def test_a_temperature_is_chosen_for_the_student_of_a_network(tmp_path: Path) -> None:
    auto = "distillation.temperature={name: auto, candidates: [1, 5], steps: 3}"
    found = distil_network(tiny(auto), tmp_path / "run")
    choice = json.loads((tmp_path / "run/temperature_choice.json").read_text(encoding="utf-8"))
    assert [trial["candidate"] for trial in choice["trials"]] == ["1", "5"]
    # All of both rounds are at the temperature that was chosen in the first.
    alone = distil_network(tiny(f"distillation.temperature={choice['chosen']}"), tmp_path / "alone")
    assert found.result["student_sha256"] == alone.result["student_sha256"]
    with pytest.raises(ConfigError, match="auto chooses on the server's validation samples"):
        check(tiny(auto, "data.public.validation=0"))


def test_a_federated_run_has_no_teacher_network_and_no_layers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="teacher: a network teaches in `fedkd distill`"):
        run_experiment(tiny(), tmp_path / "run")
    loss = "distillation.loss={name: tests.support.squares:Squares, layers: {'0': '0'}}"
    with pytest.raises(
        ConfigError, match=re.escape("distillation.loss.0: ") + ".*an ensemble teacher has logits alone"
    ):
        run_experiment(tiny("teacher=null", loss), tmp_path / "run")


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="must be a new or an empty folder"):
            distil_network(tiny(), tmp_path, resume=resume)


def test_the_command_shows_all_three(tmp_path: Path) -> None:
    config, out = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(json.dumps(TINY), encoding="utf-8")
    command = ["distill", str(config), "distillation.steps=2"]
    done = CliRunner().invoke(cli.app, [*command, "--out", str(out)], env={"COLUMNS": "120"}, catch_exceptions=False)
    for words in ("teacher", "student", "without teacher", "on the test samples", "result.json"):
        assert words in done.output
    with pytest.raises(ConfigError, match="--resume: needs the folder"):
        CliRunner().invoke(cli.app, [*command, "--resume"], catch_exceptions=False)
