"""What a student is compared with has had as much."""

from pathlib import Path

import pytest
import torch
from torch import nn

from fedkd.app import controls
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from tests.support.federations import federation

SAMPLES = 80 + 16
"""The clients' training samples, and the public ones that the student may train on."""


def _by_hand(experiment: Experiment, steps: int, *, average: float) -> list[float]:
    """Gradient descent on all samples at once, its rate falling to 0 within a round, and the mean of its weights."""
    data, rate = experiment.data, experiment.config.distillation.learning_rate
    known = data.public.labels >= 0
    chosen = torch.cat([client.train for client in data.clients])
    inputs = torch.cat([data.inputs[chosen], data.public.inputs[known]])
    labels = torch.cat([data.labels[chosen], data.public.labels[known]])
    assert labels.numel() == SAMPLES
    model = experiment.initial_model()
    weights = list(model.parameters())
    history = []
    for _ in range(experiment.config.rounds):
        mean: list[torch.Tensor] | None = None
        for step in range(steps):
            found = torch.autograd.grad(nn.functional.cross_entropy(model(inputs), labels), weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, found, strict=True):
                    weight.sub_(rate * (1 - step / steps) * gradient)
                now = [weight.clone() for weight in weights]
                pairs = zip(mean or now, now, strict=True)
                mean = [average * past + (1 - average) * present for past, present in pairs]
        with torch.no_grad():
            for weight, settled in zip(weights, mean or [], strict=True):
                weight.copy_(settled)
        history.append(accuracy(model, data.test_inputs, data.test_labels))
    return history


@pytest.mark.parametrize(
    ("steps", "epochs", "average", "made"),
    [(3, 5, 0.0, 5), (7, 5, 0.0, 7), (7, 5, 0.8, 7)],
    ids=["the clients' passes", "the student's steps", "averaged weights"],
)
def test_centralised_training_has_what_the_student_has(
    tmp_path: Path, steps: int, epochs: int, average: float, made: int
) -> None:
    experiment = federation(
        tmp_path,
        f"distillation.steps={steps}",
        f"distillation.batch_size={SAMPLES}",
        f"distillation.average={average}",
        "distillation.learning_rate=0.5",
        "distillation.momentum=0",
        "data.client_validation=0",
        "distillation.warmup=0",
        f"clients.epochs={epochs}",
    ).experiment
    found = controls.centralised(experiment, lambda done, total: None)
    assert found == pytest.approx(_by_hand(experiment, made, average=average), abs=0.005)
    others = [_by_hand(experiment, made + 4, average=average), _by_hand(experiment, made, average=0.95)]
    assert all(max(abs(one - two) for one, two in zip(found, other, strict=True)) > 0.005 for other in others)


def test_images_are_changed_for_both_controls_as_for_the_student(tmp_path: Path) -> None:
    plain, changed = (
        federation(tmp_path, "distillation.steps=20", f"distillation.augment={changes}", "student.model=cnn").experiment
        for changes in ("[]", "[shift]")
    )
    for control in (controls.public_only, controls.centralised):
        assert control(plain, lambda done, total: None) != control(changed, lambda done, total: None)
