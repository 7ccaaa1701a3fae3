"""`fedkd distill` with layers of batch normalisation that are aligned with the teacher's before the first step."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fedkd.app.checks import check
from fedkd.app.distil import distil_network
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError

CONFIG: dict[str, Any] = {
    "rounds": 1,
    "data": {"private_size": 60, "public": {"size": 40, "labelled": 20}},
    "clients": {"count": 2},
    "teacher": {"model": {"name": "resnet8", "norm": "batch"}, "epochs": 4, "learning_rate": 0.1},
    "student": {"model": {"name": "resnet8", "norm": "batch"}},
    "distillation": {
        "steps": 1,
        "learning_rate": 1e-12,
        "align_batch_norm": {"1": "1", "5.residual.1": "5.residual.1"},
    },
    "engine": {"kind": "inline"},
}


def test_student_begins_with_the_teachers_layers_and_the_control_without(tmp_path: Path) -> None:
    found = distil_network(load_config(CONFIG), tmp_path / "run")
    teacher, student, alone = (
        each.state_dict() for each in (found.teacher(), found.student(), found.student_without_teacher())
    )
    fresh = found.experiment.initial_model().state_dict()
    for name in ("1.weight", "1.bias", "5.residual.1.weight", "5.residual.1.bias"):
        assert not torch.allclose(teacher[name], fresh[name], atol=1e-4)
        torch.testing.assert_close(student[name], teacher[name])
        torch.testing.assert_close(alone[name], fresh[name])
    # No pair names these.
    torch.testing.assert_close(student["5.residual.4.weight"], fresh["5.residual.4.weight"])
    # One step has moved the statistics by a tenth from the teacher's to those of a batch.
    assert float((student["1.running_mean"] - teacher["1.running_mean"]).abs().max()) > 0


def test_pairs_that_cannot_be_aligned_are_told_before_anything_is_trained(tmp_path: Path) -> None:
    bad = load_config(CONFIG, ["distillation.align_batch_norm={'1': '0', bn: '1'}"])
    with pytest.raises(ConfigError) as caught:
        distil_network(bad, tmp_path / "run")
    assert len(caught.value.problems) == 2
    assert "'0' is a Conv2d of the teacher; name one of 1, " in str(caught.value)
    assert not (tmp_path / "run" / "teacher.pt").exists()


def test_clients_are_no_network_to_be_aligned_with() -> None:
    with pytest.raises(ConfigError, match="aligns the student with a teacher that is a network, and teacher is null"):
        check(load_config(CONFIG, ["teacher=null"]))
