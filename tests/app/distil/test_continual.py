"""Tasks learned one after the other: who learns from what, what is measured, resuming, and bad input."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fedkd.app.cli import main as cli
from fedkd.app.distil import Learned, learn_in_sequence
from fedkd.app.distil.task_checks import check_tasks
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError
from fedkd.data.datasets.digits import Digits
from fedkd.models import predict
from fedkd.results.observer import Silent
from fedkd.results.retention import Retention
from tests.support.drawn_figures import figures_drawn

TINY: dict[str, Any] = {
    "rounds": 1,
    "data": {
        "private_size": 300,
        "public": {"size": 200, "labelled": 60},
        "tasks": {"classes": [[3, 8], [0, 1, 2], [4, 5, 6, 7, 9]], "rehearsed": 5},
    },
    "clients": {"count": 4},
    "student": {"model": {"name": "mlp", "hidden": [16]}},
    "distillation": {"steps": 40, "batch_size": 16, "warmup": 5, "balancer": {"name": "fixed", "value": 0.5}},
}


def tiny(*changes: str) -> ExperimentConfig:
    return load_config(TINY, changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Learned, Path]:
    out = tmp_path_factory.mktemp("learned") / "run"
    with figures_drawn():
        return learn_in_sequence(tiny(), out), out


def test_the_matrix_is_what_the_networks_on_disk_do_on_the_test_samples(done: tuple[Learned, Path]) -> None:
    found, out = done
    experiment = found.course.experiment
    data = experiment.data
    content = json.loads((out / "continual.json").read_text(encoding="utf-8"))
    for name in ("former_self", "rehearsal", "fine_tuning"):
        matrix = content["learners"][name]["accuracy"]
        for number, seen in enumerate(([3, 8], [0, 1, 2, 3, 8], [*range(10)])):
            network = experiment.initial_model()
            file = out / ("task_0.pt" if number == 0 else f"{name}_{number}.pt")
            network.load_state_dict(torch.load(file, weights_only=True))
            logits = predict(network, data.test_inputs)
            barred = [each for each in range(10) if each not in seen]
            logits[:, barred] = -torch.inf
            right = logits.argmax(dim=1) == data.test_labels
            for task, classes in enumerate(([3, 8], [0, 1, 2], [4, 5, 6, 7, 9])):
                rows = torch.isin(data.test_labels, torch.tensor(classes))
                assert matrix[number][task] == pytest.approx(right[rows].double().mean().item())
        assert content["learners"][name] == Retention.of(content["learners"][name]).content()
    assert (out / "plots" / "continual.png").stat().st_size > 10_000
    assert (out / "student.pt").read_bytes() == (out / "former_self_2.pt").read_bytes()
    assert [task["classes"] for task in content["tasks"]] == [["3", "8"], ["0", "1", "2"], ["4", "5", "6", "7", "9"]]
    assert [task["rehearsed_later"] for task in content["tasks"]] == [10, 15, 25]


def test_who_learns_what_is_told_by_what_is_left(done: tuple[Learned, Path]) -> None:
    learners, joint = done[0].result["learners"], done[0].result["joint"]
    # All go the same way until there is a former self.
    first = [found["accuracy"][0] for found in learners.values()]
    assert first[0] == first[1] == first[2]
    assert first[0][0] > 0.8
    # Unseen classes cannot be named.
    assert first[0][1:] == [0.0, 0.0]
    kept = {name: found["average_forgetting"] for name, found in learners.items()}
    assert kept["former_self"] < kept["rehearsal"] < kept["fine_tuning"]
    assert kept["fine_tuning"] > 0.8
    assert joint["average_accuracy"] == pytest.approx(np.mean(joint["accuracy"]))
    assert joint["average_accuracy"] > learners["fine_tuning"]["average_accuracy"]


def test_every_step_with_a_former_self_is_a_row_of_its_task(done: tuple[Learned, Path]) -> None:
    with (done[1] / "distillation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["round"]) for row in rows] == [2] * 40 + [3] * 40
    assert {float(row["lambda"]) for row in rows} == {0.5}
    assert done[0].result["mean_lambda"] == [None, 0.5, 0.5]
    assert all(float(row["loss_dist"]) >= 0 for row in rows)


def test_lambda_0_is_rehearsal_alone(tmp_path: Path) -> None:
    changes = ("distillation.balancer.value=0", "distillation.batch_size=16", "distillation.labelled_batch_size=16")
    learners = learn_in_sequence(tiny(*changes), tmp_path / "run").result["learners"]
    assert learners["former_self"] == learners["rehearsal"]


class Dying(Silent):
    """Ends the sequence in a stage."""

    def __init__(self, stage: str) -> None:
        self.stages: list[str] = []
        self._stage = stage

    def progress(self, stage: str, done: int, total: int) -> None:
        self.stages.append(stage)
        if stage == self._stage and done == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["former_self, task 2", "joint"])
def test_a_task_that_is_finished_is_not_learned_again(stage: str, done: tuple[Learned, Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        learn_in_sequence(tiny(), out, Dying(stage))
    with pytest.raises(ConfigError, match="add --resume"):
        learn_in_sequence(tiny(), out)
    watcher = Dying("")
    resumed = learn_in_sequence(tiny(), out, watcher, resume=True)
    assert not {"task 0", "former_self, task 1"} & set(watcher.stages)
    assert watcher.stages[0] == stage
    for key in ("learners", "joint", "mean_lambda", "student_sha256"):
        assert resumed.result[key] == done[0].result[key]
    assert (out / "distillation.csv").read_bytes() == (done[1] / "distillation.csv").read_bytes()


def test_a_task_takes_as_many_rounds_as_are_asked_for(tmp_path: Path) -> None:
    found = learn_in_sequence(tiny("rounds=2", "distillation.steps=3"), tmp_path / "run")
    with (tmp_path / "run" / "distillation.csv").open(encoding="utf-8") as file:
        assert [int(row["round"]) for row in csv.DictReader(file)] == [3] * 3 + [4] * 3 + [5] * 3 + [6] * 3
    assert found.result["mean_lambda"] == [None, 0.5, 0.5]


def test_without_rehearsed_samples_there_is_one_control_less(tmp_path: Path) -> None:
    found = learn_in_sequence(tiny("data.tasks.rehearsed=0", "distillation.steps=2"), tmp_path / "run")
    assert list(found.result["learners"]) == ["former_self", "fine_tuning"]


def test_all_labelled_samples_are_of_a_task() -> None:
    course = check_tasks(tiny())
    data = course.experiment.data
    pooled = sum(client.train.numel() for client in data.clients)
    samples = torch.cat([task.train for task in course.tasks])
    assert torch.equal(samples.sort().values, torch.arange(pooled + data.public.labelled.numel()))
    for task in course.tasks:
        assert torch.isin(course.labels[task.train], task.classes).all()


def test_tasks_of_a_file_may_share_classes(tmp_path: Path) -> None:
    source = Digits().load(tmp_path)
    halves = {
        split: [each % 2 for each in range(len(labels))]
        for split, labels in (("train", source.train_labels), ("test", source.test_labels))
    }
    (path := tmp_path / "tasks.json").write_text(json.dumps(halves))
    changes = ("data.tasks={path: " + str(path) + ", rehearsed: 3}", "distillation.steps=20")
    found = learn_in_sequence(tiny(*changes), tmp_path / "run")
    assert [len(task["classes"]) for task in found.result["tasks"]] == [10, 10]
    # All classes are in the first task, so that most of the second is known before it begins.
    assert found.result["learners"]["former_self"]["forward_transfer"][1] > 0.3


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        learn_in_sequence(
            tiny(
                "teacher.model=cnn",
                "distillation.label_share=0.5",
                "distillation.patience=3",
                "distillation.align_batch_norm={'1': '1'}",
                "distillation.temperature=auto",
                "distillation.measure_classes_every=2",
                "data.tasks.rehearsed=30",
            ),
            tmp_path / "run",
        )
    starts = [problem.partition(":")[0] for problem in caught.value.problems]
    keys = ["label_share", "patience", "align_batch_norm", "temperature", "measure_classes_every"]
    assert starts[:6] == ["teacher", *(f"distillation.{key}" for key in keys)]
    assert set(starts[6:]) == {"data.tasks.rehearsed"}
    with pytest.raises(ConfigError, match=r"data\.tasks: says which tasks are learned, got null"):
        learn_in_sequence(tiny("data.tasks=null"), tmp_path / "run")
    with pytest.raises(ConfigError) as caught:
        learn_in_sequence(tiny("student.model=no_such", "data.tasks.classes=[[0, 1], [1]]"), tmp_path / "run")
    assert len(caught.value.problems) == 2
    assert not (tmp_path / "run").exists()


def test_a_federated_run_has_one_task(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape("data.tasks: a sequence of tasks is learned in `fedkd distill`")):
        run_experiment(tiny(), tmp_path / "run")


def test_the_command_shows_everybody_who_learned(tmp_path: Path) -> None:
    config, out = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(json.dumps(TINY), encoding="utf-8")
    command = ["distill", str(config), "distillation.steps=2", "--out", str(out)]
    done = CliRunner().invoke(cli.app, command, env={"COLUMNS": "120"}, catch_exceptions=False)
    for words in ("former self", "rehearsal", "fine tuning", "joint", "forgotten", "samples of 3, 8", "continual.json"):
        assert words in done.output
