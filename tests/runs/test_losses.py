"""Every loss in a whole run: of a federation where it looks at logits, of one network where it looks at layers."""

import csv
import math
import re
from pathlib import Path
from typing import Any

import pytest

from fedkd.app.distil import distil_network
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError

TINY: dict[str, Any] = {
    "rounds": 1,
    "data": {"private_size": 300, "public": {"size": 300, "labelled": 60}},
    "clients": {"count": 2, "epochs": 5},
    "student": {"model": {"name": "mlp", "hidden": [32]}},
    "distillation": {"steps": 100, "balancer": {"name": "fixed", "value": 1.0}},
    "engine": {"kind": "inline"},
}
IMAGES: dict[str, Any] = {
    "rounds": 1,
    "data": {"private_size": 200, "public": {"size": 200, "labelled": 60}},
    "clients": {"count": 2},
    "teacher": {"model": "cnn", "epochs": 3},
    "student": {"model": "lenet5"},
    "distillation": {"steps": 60, "balancer": {"name": "fixed", "value": 1.0}},
}
TOKENS: dict[str, Any] = {
    **IMAGES,
    "data": {
        "dataset": "tests.support.kinds_of_samples:Words",
        "private_size": 60,
        "public": {"size": 100, "labelled": 30},
    },
    "teacher": {"model": {"name": "transformer", "depth": 2, "width": 16, "heads": 4}, "epochs": 3},
    "student": {"model": {"name": "transformer", "depth": 1, "width": 8, "heads": 2}},
}


def losses(folder: Path) -> list[float]:
    """L_dist at every step."""
    with (folder / "distillation.csv").open(encoding="utf-8") as file:
        return [float(row["loss_dist"]) for row in csv.DictReader(file)]


LOGITS = ("dkd", "jensen_shannon", "kl", "mse", "relational", "reverse_kl", "standardised")


@pytest.mark.parametrize("name", LOGITS)
def test_a_student_learns_from_an_ensemble_by_every_loss_on_logits(name: str, tmp_path: Path) -> None:
    summary = run_experiment(load_config(TINY, [f"distillation.loss={name}"]), tmp_path / "run").summary
    found = losses(tmp_path / "run")
    assert all(math.isfinite(each) for each in found)
    assert sum(found[-10:]) < 0.8 * sum(found[:10])
    assert summary.student_accuracy is not None
    # Relations alone do not say which class is which.
    assert name == "relational" or summary.student_accuracy > 0.4


@pytest.mark.parametrize(
    ("config", "loss"),
    [
        (IMAGES, "{name: fitnets, layers: {'4': '4', '7': '7'}}"),
        (IMAGES, "{name: attention_transfer, layers: {'1': '2', '4': '4'}}"),
        (IMAGES, "{name: relational, layers: {'7': '7'}}"),
        (TOKENS, "{name: fitnets, layers: {layers.0: layers.1}}"),
        (TOKENS, "{name: attention_transfer, layers: {layers.0: layers.1}}"),
        (TOKENS, "transformer_layers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_student_learns_from_the_layers_of_one_network(config: dict[str, Any], loss: str, tmp_path: Path) -> None:
    distil_network(load_config(config, [f"distillation.loss={loss}"]), tmp_path / "run")
    found = losses(tmp_path / "run")
    assert all(math.isfinite(each) for each in found)
    assert sum(found[-10:]) < 0.9 * sum(found[:10])


def test_layers_that_are_not_there_or_do_not_fit_are_named(tmp_path: Path) -> None:
    wrong = {
        "{name: fitnets, layers: {'99': '4'}}": r"fitnets: no layer '99'; .*its layers are 0, 1, 2",
        "{name: fitnets, layers: {'4': '9'}}": (
            r"layers 4 of the student and 9 of the teacher: both must be vectors .* got \(2, 16, 4, 4\) and \(2, 10\)"
        ),
        "{name: attention_transfer, layers: {'7': '7'}}": r"layers 7 of the student .* both must be maps",
        "transformer_layers": r"transformer_layers: blocks must name a list of layers in the student, got 'layers'",
    }
    with pytest.raises(ConfigError) as caught:
        distil_network(load_config(IMAGES, [f"distillation.loss=[{', '.join(wrong)}]"]), tmp_path / "run")
    for problem, (index, expected) in zip(caught.value.problems, enumerate(wrong.values()), strict=True):
        assert re.match(rf"distillation\.loss\.{index}: .*{expected}", problem), problem
    odd = ("teacher.model.depth=3", "student.model.depth=2", "distillation.loss=transformer_layers")
    with pytest.raises(ConfigError, match="multiple of the student's, got 3 and 2; change one"):
        distil_network(load_config(TOKENS, odd), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_layers_of_an_ensemble_are_asked_for_in_vain(tmp_path: Path) -> None:
    for loss in ("transformer_layers", "{name: relational, layers: {'1': '1'}}"):
        with pytest.raises(ConfigError, match=r"distillation\.loss\.0: .*an ensemble teacher has logits alone"):
            run_experiment(load_config(TINY, [f"distillation.loss={loss}"]), tmp_path / "run")
