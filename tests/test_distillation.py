"""Distillation: the losses by hand, the step against autograd, and what the student learns."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from fedkd.balancing import build
from fedkd.config import DistillationConfig
from fedkd.distillation import Distiller, classification_loss, distillation_loss
from fedkd.distillation.step import balanced_step
from fedkd.types import Teacher


def test_distillation_loss_by_hand() -> None:
    # KL([¾, ¼] ‖ [½, ½]) = ¾·ln 1.5 + ¼·ln 0.5
    teacher, student = torch.tensor([[0.75, 0.25]]).log(), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(distillation_loss(student, teacher, 1.0)) == pytest.approx(expected, rel=1e-6)


def test_distillation_loss_is_from_the_teacher_to_the_student() -> None:
    teacher, student = torch.tensor([[0.75, 0.25]]).log(), torch.zeros(1, 2)
    reverse = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert abs(float(distillation_loss(student, teacher, 1.0)) - reverse) > 0.01


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_student_that_equals_its_teacher_has_no_loss(temperature: float) -> None:
    logits = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)) * 10
    assert float(distillation_loss(logits, logits.log_softmax(1), temperature)) == pytest.approx(0.0, abs=1e-5)


def test_the_square_of_the_temperature_restores_the_gradient() -> None:
    """For large T the logit gradient tends to (z_s − z_t)/classes per sample (Hinton et al. 2015, Eq. 4)."""
    teacher = torch.tensor([[1.0, -1.0, 0.0]])
    student = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(distillation_loss(student, teacher, 1000.0), student)
    torch.testing.assert_close(gradient, -teacher / 3, atol=1e-3, rtol=0)


def test_sample_weights_select_samples() -> None:
    logits, target = torch.randn(2, 3), torch.randn(2, 3)
    one = distillation_loss(logits[:1], target[:1], 2.0)
    assert torch.allclose(distillation_loss(logits, target, 2.0, torch.tensor([3.0, 0.0])), one)
    assert float(distillation_loss(logits, target, 2.0, torch.zeros(2))) == 0.0


def test_a_step_descends_along_the_balanced_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(4, 3)
    inputs, target = torch.randn(6, 4, generator=generator), torch.randn(6, 3, generator=generator)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    reference = copy.deepcopy(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    row = balanced_step(
        distillation_loss(model(inputs), target, 2.0),
        classification_loss(model(inputs), labels),
        list(model.parameters()),
        optimiser,
        build("fixed", value=0.3),
        round=1,
        step=0,
        steps=1,
    )
    dist, task = distillation_loss(reference(inputs), target, 2.0), classification_loss(reference(inputs), labels)
    gradients = torch.autograd.grad(0.3 * dist + 0.7 * task, list(reference.parameters()))
    for moved, start, gradient in zip(model.parameters(), reference.parameters(), gradients, strict=True):
        torch.testing.assert_close(moved, start - 0.1 * gradient)
    squared = sum(float(gradient.square().sum()) for gradient in gradients)
    assert row.predicted_decrease == pytest.approx(0.1 * squared, rel=1e-5)
    assert row.loss_dist == pytest.approx(dist.item())
    assert row.loss_cls == pytest.approx(task.item())


def problem() -> tuple[Tensor, Tensor, Tensor]:
    """Separable two-class images, their truth, and labels on the first eight only."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(200) % 2
    images = torch.randn(200, 1, 4, 4, generator=generator) + (truth * 2.0 - 1.0).view(-1, 1, 1, 1)
    labels = truth.clone()
    labels[8:] = -1
    return images, truth, labels


def distiller(balancer: str = "fixed", *, pseudo_labels: bool = False, **options: float) -> Distiller:
    torch.random.set_rng_state(torch.Generator().manual_seed(0).get_state())
    student = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    config = DistillationConfig(steps=60, batch_size=16, labelled_batch_size=8)
    return Distiller(student, build(balancer, **options), config, seed=0, pseudo_labels=pseudo_labels)


def share_right(model: nn.Module, images: Tensor, truth: Tensor) -> float:
    return float((model(images).argmax(1) == truth).float().mean())


def test_lambda_decides_whom_the_student_believes() -> None:
    images, truth, labels = problem()
    liar = Teacher.from_probabilities(nn.functional.one_hot(1 - truth, 2).float())
    for value, expected in ((1.0, 0.0), (0.0, 1.0)):
        trainer = distiller(value=value)
        trainer.distil(liar, images, labels, round=1)
        assert share_right(trainer.student, images, truth) == pytest.approx(expected, abs=0.1)


def test_without_labels_lambda_is_one_unless_pseudo_labels_are_asked_for() -> None:
    images, truth, _ = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float() * 0.8 + 0.1)
    unknown = torch.full_like(truth, -1)
    plain, pseudo = distiller(value=0.2), distiller(value=0.2, pseudo_labels=True)
    result = plain.distil(teacher, images, unknown, round=1)
    assert (result.mean_lambda, result.loss_cls) == (1.0, 0.0)
    result = pseudo.distil(teacher, images, unknown, round=1)
    assert result.mean_lambda == pytest.approx(0.2)
    assert result.loss_cls > 0
    assert share_right(plain.student, images, truth) > 0.9


def test_held_out_samples_are_never_trained_on() -> None:
    """Poisoning the held-out samples, in images, labels and targets, changes nothing."""
    images, truth, labels = problem()
    held_out = torch.zeros(200, dtype=torch.bool)
    held_out[4:8] = held_out[100:150] = True
    probabilities = nn.functional.one_hot(truth, 2).float()
    students = []
    for poison in (False, True):
        shown, known, target = images.clone(), labels.clone(), probabilities.clone()
        if poison:
            shown[held_out], known[4:8], target[held_out] = 1e3, 1 - truth[4:8], 0.5
        trainer = distiller(value=0.5)
        trainer.distil(Teacher.from_probabilities(target), shown, known, round=1, held_out=held_out)
        students.append(trainer.student)
    for left, right in zip(students[0].parameters(), students[1].parameters(), strict=True):
        assert torch.equal(left, right)


def test_resuming_from_state_gives_the_same_student() -> None:
    images, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float())
    whole = distiller("energy_share", ema=0.9)
    whole.distil(teacher, images, labels, round=1)
    resumed = distiller("energy_share", ema=0.9)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for trainer in (whole, resumed):
        trainer.distil(teacher, images, labels, round=2)
    for left, right in zip(whole.student.parameters(), resumed.student.parameters(), strict=True):
        assert torch.equal(left, right)


def test_nothing_to_distil_on_is_an_error() -> None:
    images, truth, labels = problem()
    teacher = Teacher.from_probabilities(nn.functional.one_hot(truth, 2).float())
    with pytest.raises(ValueError, match="held out"):
        distiller().distil(teacher, images, labels, round=1, held_out=torch.ones(200, dtype=torch.bool))
