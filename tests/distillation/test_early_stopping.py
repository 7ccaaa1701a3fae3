"""The length of a round of distillation: stopping early, and how the learning rate falls."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import Teacher
from fedkd.config.schema import DistillationConfig
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.early_stopping import BestStudent
from fedkd.distillation.temperature import build_temperature
from fedkd.distillation.validation import Validation
from fedkd.models import accuracy

# Inputs −1.5, −0.5, 0.5 and 1.5 of class 1.
IMAGES, LABELS = (torch.arange(4.0) - 1.5).reshape(4, 1, 1, 1), torch.ones(4, dtype=torch.long)


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(1, 2))


def become(model: nn.Sequential, share: float) -> None:
    """Answer right on ``share`` of the four inputs, the largest ones."""
    model.load_state_dict({"1.weight": torch.tensor([[0.0], [1.0]]), "1.bias": torch.tensor([2.0 - 4.0 * share, 0.0])})


@pytest.mark.parametrize(
    ("shares", "patience", "stopped", "kept"),
    [
        ([0.25, 0.5, 0.75, 1.0], 10, 40, 1.0),
        ([0.25, 0.75, 0.5, 0.5, 1.0], 20, 40, 0.75),
        ([0.25, 0.75, 0.5, 0.5, 1.0], 40, 50, 1.0),
        ([0.25, 0.75, 0.5, 0.5, 1.0], 1, 30, 0.75),
        # An equal accuracy is no gain.
        ([0.5, 0.5, 0.5, 0.5], 20, 30, 0.5),
        ([0.0, 0.0], 10, 20, 0.0),
    ],
)
def test_a_student_is_stopped_without_a_gain_and_kept_where_it_was_best(
    shares: list[float], patience: int, stopped: int, kept: float
) -> None:
    model, step = linear(), 0
    best = BestStudent(model, IMAGES, LABELS, patience)
    for step, share in enumerate(shares, start=1):
        become(model, share)
        assert accuracy(model, IMAGES, LABELS) == share
        if best.given_up(10 * step):
            break
    best.restore()
    assert 10 * step == stopped
    assert accuracy(model, IMAGES, LABELS) == kept


def test_of_equally_good_students_the_earlier_is_kept() -> None:
    model = linear()
    best = BestStudent(model, IMAGES, LABELS, 100)
    become(model, 0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    best.given_up(10)
    model.load_state_dict({name: 2 * value for name, value in before.items()})
    best.given_up(20)
    best.restore()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def distilled(validation: Tensor | None = None, **options: Any) -> tuple[Tensor, int]:
    """A student's weights after a round on 32 samples whose class is the sign of their first pixel, and its steps."""
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(32, 1, 2, 2, generator=draw)
    labels = (inputs[:, 0, 0, 0] > 0).long()
    teacher = Teacher.from_probabilities(torch.nn.functional.one_hot(labels, 2).float() * 0.8 + 0.1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model.load_state_dict({"1.weight": torch.zeros(2, 4), "1.bias": torch.tensor([1.0, 0.0])})
    config = DistillationConfig(**({"warmup": 0, "learning_rate": 0.5} | options))
    distiller = Distiller(model, build_balancer("fixed"), config, temperature=build_temperature("constant"), seed=0)
    held_out = torch.zeros(32, dtype=torch.bool) if validation is None else validation
    truth = labels[held_out]
    rows = distiller.distil(teacher, inputs, labels, round=1, validation=Validation(held_out, truth)).rows
    return model.state_dict()["1.weight"], len(rows)


HELD_OUT = torch.arange(32) < 12


def test_a_round_ends_when_patience_does() -> None:
    _, whole = distilled(HELD_OUT, steps=200, validate_every=5)
    assert whole == 200
    _, shorter = distilled(HELD_OUT, steps=200, validate_every=5, patience=20)
    assert shorter < 200
    assert shorter % 5 == 0


def test_a_round_shorter_than_the_time_between_measurements_counts() -> None:
    """The student is measured after the last step as well, or what it learned would be thrown away."""
    weights, steps = distilled(HELD_OUT, steps=10, validate_every=25, patience=5)
    assert steps == 10
    assert float(weights.abs().max()) > 0.1
    last, _ = distilled(HELD_OUT, steps=10, validate_every=25)
    assert torch.equal(weights, last)


def test_without_validation_samples_patience_has_nothing_to_go_by() -> None:
    impatient, steps = distilled(None, steps=40, validate_every=5, patience=5)
    patient, _ = distilled(None, steps=40, validate_every=5)
    assert steps == 40
    assert torch.equal(impatient, patient)


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("linear", (1.0, 0.75, 0.5, 0.25)),
        # (1 + cos(π·k/4))/2
        ("cosine", (1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2)),
        ("constant", (1.0, 1.0, 1.0, 1.0)),
    ],
)
@pytest.mark.parametrize("warmup", [0, 2])
def test_the_learning_rate_by_hand(schedule: str, shares: tuple[float, ...], warmup: int) -> None:
    draw = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    options: dict[str, Any] = {"steps": 4, "learning_rate": 0.2, "warmup": warmup, "schedule": schedule}
    distiller = Distiller(
        model, build_balancer("fixed"), DistillationConfig(**options), temperature=build_temperature("constant"), seed=0
    )
    inputs, labels = torch.randn(8, 1, 2, 2, generator=draw), torch.tensor([0, 1] * 4)
    teacher = Teacher.from_probabilities(torch.full((8, 2), 0.5))
    rows = distiller.distil(teacher, inputs, labels, round=1).rows
    rise = (0.5, 1.0, 1.0, 1.0) if warmup else (1.0, 1.0, 1.0, 1.0)
    assert [row.learning_rate for row in rows] == pytest.approx(
        [0.2 * r * s for r, s in zip(rise, shares, strict=True)]
    )
