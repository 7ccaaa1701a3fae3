"""The loss that draws a fixed context to an attention's: values by hand, and what it has for its least."""

import pytest
import torch
from torch import Size, Tensor, nn

from fedkd.config.schema import DistillationConfig
from fedkd.config.values import Plugin
from fedkd.core.samples import SampleSpec
from fedkd.distillation.loss import Answers, Batch, build_loss
from fedkd.distillation.loss_sum import LossSum
from fedkd.distillation.network import NetworkTeacher
from fedkd.models import build_model, tapped

SERIES = SampleSpec((3, 6))


def answers(samples: int = 1, **features: Tensor) -> Answers:
    return Answers(torch.zeros(samples, 2), features)


def batch(samples: int = 1, weight: Tensor | None = None) -> Batch:
    return Batch(1.0, torch.full((samples,), -1), weight)


def test_the_teachers_queries_are_averaged_by_hand() -> None:
    teacher = answers(
        context=torch.tensor([[[1.0, 4.0], [3.0, 0.0]]]),  # mean 2, 2
        weights=torch.tensor([[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]]),  # mean 1/4, 3/4, 0
    )
    student = answers(context=torch.tensor([[0.0, 3.0]]), weights=torch.tensor([[0.5, 0.5, 0.0]]))
    apart = (4.0 + 1.0) / 2
    divergence = 0.25 * torch.tensor(0.5).log() + 0.75 * torch.tensor(1.5).log()
    found = build_loss("context", pattern=3.0).value(student, teacher, batch())
    torch.testing.assert_close(found, apart + 3.0 * divergence)
    contexts_alone = build_loss("context", patterns={}).value(student, teacher, batch())
    assert contexts_alone.item() == pytest.approx(apart)
    patterns_alone = build_loss("context", layers={}).value(student, teacher, batch())
    torch.testing.assert_close(patterns_alone, divergence)


def test_samples_count_by_their_weight() -> None:
    contexts = torch.tensor([[1.0], [3.0]])
    loss = build_loss("context", patterns={})
    student, teacher = answers(2, context=torch.zeros(2, 1)), answers(2, context=contexts)
    assert loss.value(student, teacher, batch(2, torch.tensor([3.0, 1.0]))).item() == pytest.approx((3 * 1 + 9) / 4)


def test_the_best_fixed_pattern_is_the_teachers_mean_one() -> None:
    """KL(ᾱ ‖ p) over samples is least where p is the mean of ᾱ."""
    teacher = torch.rand(20, 3, 6, generator=torch.Generator().manual_seed(0)).softmax(dim=2)
    scores = torch.zeros(6, requires_grad=True)
    loss = build_loss("context", layers={})
    optimiser = torch.optim.LBFGS([scores], max_iter=100, tolerance_grad=1e-9)

    def step() -> float:
        optimiser.zero_grad()
        weights = scores.softmax(dim=0).expand(20, 6)
        value = loss.value(answers(20, weights=weights), answers(20, weights=teacher), batch(20))
        value.backward()
        return value.item()

    optimiser.step(step)
    torch.testing.assert_close(scores.softmax(dim=0).detach(), teacher.mean(dim=(0, 1)), atol=1e-4, rtol=0.0)


def test_it_fits_the_shipped_networks_of_different_widths_with_padding() -> None:
    draw = torch.Generator().manual_seed(0)
    student = build_model(Plugin("fixed_context", {"width": 8}), SERIES, 4, draw)
    teacher = NetworkTeacher(build_model(Plugin("attention", {"width": 5}), SERIES, 4, draw), SERIES)
    whole = LossSum([build_loss("context")], student, teacher, DistillationConfig(), draw)
    inputs = SERIES.made_up(7)
    inputs[0, :, 3:] = 0
    with tapped(student, whole.student_layers) as features:
        logits = student(inputs)
    value = whole(Answers(logits, features), teacher.answers(inputs, whole.teacher_layers), batch(7))
    value.backward()
    assert value.isfinite()
    assert student.get_parameter("weights.scores").grad is not None
    for name, each in student.named_parameters():
        assert each.grad is None or bool(each.grad.isfinite().all()), name


def test_only_other_widths_are_projected() -> None:
    loss = build_loss("context")
    assert loss.projection(Size([2, 6]), Size([2, 4, 6])) is None
    made = loss.projection(Size([2, 8]), Size([2, 4, 5]))
    assert isinstance(made, nn.Linear)
    assert (made.in_features, made.out_features) == (8, 5)
