"""A federation on another device than the CPU: nothing is mixed up, and nothing comes out differently."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import nn

from fedkd.core.compute import call_with, fixed_arithmetic, to_device
from tests.support import SUPPORT, own_models
from tests.support.federations import experiment_of

CASES = {
    "controls": [],
    "stacked": ["engine.vectorise=always", "clients.proximal=0.1", "clients.logit_adjustment=1"],
    "distillation": [
        "distillation.augment=[flip, shift]",
        "distillation.label_share=0.5",
        "distillation.mixed=true",
        "distillation.measure_every=2",
        "distillation.validate_every=2",
        "distillation.patience=2",
        "distillation.clip_norm=1.0",
        "distillation.optimiser=adam",
        "distillation.temperature=entropy",
        "distillation.balancer=error_ratio",
    ],
    "own models": [
        "engine.vectorise=always",
        "clients.rule={name: own_model, pretrain_epochs: 1}",
        "clients.models=[mlp, cnn]",
        "clients.attackers={share: 0.5, behaviour: stale}",
    ],
    "selective": ["clients.rule={name: selective, base: broadcast}"],
    "features": ["clients.rule=features", "student.rule=features"],
    "prototypes": ["clients.rule=prototypes", "student.rule=label_means"],
    "average": ["clients.rule=parameters", "student.rule=average_and_distil"],
    "DP-SGD": ["privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}"],
}


def test_federations_on_a_second_device_end_with_the_same_bits() -> None:
    support = SUPPORT
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(support / "run_on_pretend_gpu.py")],
        input="\n".join("|".join([name, *overrides]) for name, overrides in CASES.items()),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    refusals, permitted, *cases = done.stdout.splitlines()
    # What a GPU would refuse, the other device does too; else the rest would tell nothing.
    assert (refusals, permitted) == ("True True True", "pretend [0.0, 2.0, 4.0] [2.0] 3.0")
    assert cases == [f"{name} True True" for name in CASES]


def test_images_are_brought_to_a_device_once_and_everything_else_stays() -> None:
    data = experiment_of().data
    assert data.on(torch.device("cpu")) is data
    there = data.on(torch.device("meta"))
    assert {there.inputs.device.type, there.public.inputs.device.type, there.test_inputs.device.type} == {"meta"}
    assert there.labels is data.labels
    assert there.public.truth is data.public.truth
    assert data.on(torch.device("meta")) is there


def test_what_is_on_the_device_already_is_not_copied() -> None:
    tensor = torch.arange(3)
    assert to_device(tensor, "cpu") is tensor


def test_gpu_arithmetic_is_fixed_within_the_block_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")

    def settings() -> tuple[bool, ...]:
        cudnn = torch.backends.cudnn
        return (
            torch.are_deterministic_algorithms_enabled(),
            cudnn.deterministic,
            not cudnn.benchmark,
            not cudnn.allow_tf32,
            not torch.backends.cuda.matmul.allow_tf32,
        )

    before = settings()
    assert not all(before)
    with fixed_arithmetic(torch.device("cpu")):
        assert settings() == before
    with fixed_arithmetic(torch.device("cuda")):
        assert all(settings())
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert settings() == before


@pytest.mark.parametrize("build", [own_models.tied, own_models.used_twice])
def test_a_model_called_with_other_parameters_uses_them_everywhere_and_keeps_its_own(
    build: Callable[[], nn.Module],
) -> None:
    model, inputs = build(), torch.randn(2, 1, 8, 8)
    own = dict(model.named_parameters())
    before = model(inputs)
    assert torch.equal(call_with(model, own, inputs), before)
    assert not call_with(model, {name: torch.zeros_like(each) for name, each in own.items()}, inputs).any()
    assert torch.equal(model(inputs), before)
    assert all(model.get_parameter(name) is each for name, each in own.items())
