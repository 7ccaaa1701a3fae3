"""Networks that learn several labels of their samples, from the configuration to the result."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkd.app.checks import check as check_run
from fedkd.app.distil import distil_network
from fedkd.app.distil.checks import check
from fedkd.app.distil.heads import private_labels, public_labels
from fedkd.app.distil.training import labelled_samples
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError
from fedkd.models import hit_rate, predict

TINY: dict[str, Any] = {
    "rounds": 2,
    "data": {"heads": ["parity"], "private_size": 100, "public": {"size": 200, "labelled": 60}},
    "clients": {"count": 4},
    "teacher": {"model": {"name": "mlp", "hidden": [32]}, "epochs": 20, "learning_rate": 0.01},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "distillation": {"steps": 20, "loss": ["kl", "multi_task_relational"]},
}


def tiny(*changes: str) -> ExperimentConfig:
    return load_config(TINY, changes)


def test_two_labels_are_learned_at_once(tmp_path: Path) -> None:
    found = distil_network(tiny(), tmp_path / "run")
    data = found.experiment.data
    result = json.loads((tmp_path / "run/result.json").read_text(encoding="utf-8"))
    for name, model in (("teacher", found.teacher()), ("student", found.student())):
        outputs = predict(model, data.test_inputs)
        assert outputs.shape[1] == 12
        assert result[f"{name}_accuracy"] == hit_rate(outputs[:, :10], data.test_labels)
        parity = result["further_accuracies"]["parity"][name]
        assert parity == hit_rate(outputs[:, 10:], data.test_labels % 2)
    assert result["further_accuracies"]["parity"]["teacher"] > 0.7
    assert result["student_history"][-1] == result["student_accuracy"]


def test_of_what_the_server_does_not_know_it_knows_no_other_label_either() -> None:
    experiment, _ = check(tiny())
    data = experiment.data
    public, private = public_labels(data), private_labels(data)
    assert torch.equal(public[:, 0], data.public.labels)
    known = public[:, 0] >= 0
    assert torch.equal(public[known, 1], public[known, 0] % 2)
    assert bool((public[~known] == -1).all())
    assert torch.equal(private[:, 1], data.labels % 2)
    _, labels = labelled_samples(experiment, everything=True)
    assert torch.equal(labels[:, 1], labels[:, 0] % 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["data.heads=[party]"], r"data\.heads: must be other labels of digits \(parity\), got 'party'"),
        (["data.heads=[parity,parity]"], r"data\.heads: each may be named once"),
        (["data.tasks={count: 2}"], r"data\.heads: a sequence of tasks is of the class alone"),
        (["data.heads=[]"], r"distillation\.loss\.1: multi_task_relational: .*the networks learn one"),
        (["data.dataset=scikit_learn", "data.public.size=60"], r"of scikit_learn \(it has none\), got 'parity'"),
    ],
    ids=str,
)
def test_bad_heads_are_refused(changes: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        distil_network(tiny(*changes), tmp_path / "run")


def test_a_teacher_without_the_other_label_is_refused(tmp_path: Path) -> None:
    distil_network(tiny("data.heads=[]", "distillation.loss=kl", "distillation.steps=1"), tmp_path / "run")
    given = f"teacher.init={tmp_path / 'run/teacher.pt'}"
    with pytest.raises(ConfigError, match=r"teacher\.init: .* cannot be used: .*10"):
        distil_network(tiny(given, "teacher.epochs=0"), tmp_path / "other")


def test_a_federated_run_learns_the_class_alone() -> None:
    with pytest.raises(ConfigError, match=r"data\.heads: several labels are learned in `fedkd distill`"):
        check_run(tiny("teacher=null", "distillation.loss=kl"))
