"""The relations between the outputs for two tasks, by hand, and what changes nothing about them."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from fedkd.distillation.loss import Answers, Batch, build_loss

LOSS = build_loss("multi_task_relational")


def value(student: Tensor, teacher: Tensor, heads: tuple[int, ...] = (2, 2), weight: Tensor | None = None) -> Tensor:
    unknown = torch.full((len(student), len(heads)), -1)
    return LOSS.value(Answers(student), Answers(teacher), Batch(1.0, unknown, weight, heads))


def on_lines(*points: tuple[float, float]) -> Tensor:
    """Two heads of two classes: centred, each sample's outputs are on a line, at these places."""
    return torch.tensor([[first, -first, second + 7.0, 7.0 - second] for first, second in points])


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_three_samples_by_hand() -> None:
    # Distances over their mean: (0, 3/4, 9/4), (3/4, 0, 3/2), (9/4, 3/2, 0) for places 0, 1, 3; and for 0, 0, 1
    # (0, 0, 9/4) twice and (9/4, 9/4, 0). These are the places of the samples for either task.
    squares = [[9 / 16, 9 / 16, 99 / 8], [9 / 8, 9 / 8, 153 / 16], [99 / 8, 99 / 8, 9 / 16]]
    teacher = torch.tensor(squares).sqrt()
    student = torch.tensor([[0, 27 / 16, 171 / 16], [27 / 16, 0, 27 / 4], [171 / 16, 27 / 4, 0]]).sqrt()
    expected = smooth_l1_loss(student / student.mean(), teacher / teacher.mean())
    found = value(on_lines((0, 0), (1, 1), (3, 3)), on_lines((0, 0), (1, 0), (3, 1)))
    torch.testing.assert_close(found, expected)


def test_only_how_the_tasks_lie_to_one_another_counts() -> None:
    teacher = drawn(0, 6, 5)
    turned = torch.linalg.qr(drawn(1, 2, 2))[0] * 3.0
    # Both heads' outputs moved by sample, stretched, and turned about the plane of centred logits.
    basis = torch.tensor([[2.0, -1.0, -1.0], [0.0, 3.0**0.5, -(3.0**0.5)]]) / 6.0**0.5
    first = (teacher[:, :3] - teacher[:, :3].mean(dim=1, keepdim=True)) @ basis.T @ turned @ basis
    student = torch.cat([first + drawn(2, 6, 1), -2.0 * teacher[:, 3:] + drawn(3, 6, 1)], dim=1)
    assert value(student, teacher, (3, 2)).item() == pytest.approx(0.0, abs=1e-9)
    # The same outputs for each task, for other samples: each task alone has the same distances, in another order.
    assert value(torch.cat([teacher[:, :3], teacher[:, 3:].roll(1, dims=0)], dim=1), teacher, (3, 2)).item() > 1e-2


def test_a_sample_without_weight_counts_for_nothing() -> None:
    student, teacher = drawn(0, 6, 7), drawn(1, 6, 7)
    weight = torch.tensor([2.0, 2.0, 2.0, 2.0, 2.0, 0.0])
    left_out = value(student[:5], teacher[:5], (3, 2, 2))
    torch.testing.assert_close(value(student, teacher, (3, 2, 2), weight), left_out)
    assert value(student, teacher, (3, 2, 2), torch.zeros(6)).item() == 0.0


@pytest.mark.parametrize("student", [torch.zeros(4, 4), torch.ones(1, 4), drawn(0, 4, 4) * 1e15], ids=str)
def test_gradients_are_finite(student: Tensor) -> None:
    student = student.requires_grad_()
    value(student, drawn(1, *student.shape)).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_networks_with_one_task_are_refused() -> None:
    with pytest.raises(ValueError, match=r"several tasks, and the networks learn one; name other labels .*data\.heads"):
        LOSS.value(Answers(drawn(0, 3, 4)), Answers(drawn(1, 3, 4)), Batch(1.0, torch.zeros(3).long()))
