"""The relational loss: distances and angles by hand, and the changes of a space that it does not see."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkd.distillation.loss import Answers, Batch, build_loss


def value(student: Tensor, teacher: Tensor, weight: Tensor | None = None, **options: Any) -> Tensor:
    """Between layers with these outputs."""
    logits = torch.zeros(len(student), 2, dtype=student.dtype)
    answers = (Answers(logits, {"mine": student}), Answers(logits, {"mine": teacher}))
    loss = build_loss("relational", layers={"mine": "its"}, **options)
    return loss.value(*answers, Batch(1.0, torch.full((len(logits),), -1), weight))


def points(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


LINE, ELL = points((0, 0), (1, 0), (2, 0)), points((0, 0), (3, 0), (0, 4))


def test_distances_by_hand() -> None:
    # 1, 1, 2 over 4/3 and 3, 5, 4 over 4: ¾, ¾, 3/2 and ¾, 5/4, 1 for the pairs 01, 12, 02.
    expected = (0.5 * 0.5**2 + 0.5 * 0.5**2) / 3
    assert value(LINE, ELL, distance=1, angle=0).item() == pytest.approx(expected)


def test_angles_by_hand() -> None:
    # At 0, 1, 2: cosines 1, −1, 1 on the line, and 0, 3/5, 4/5; Huber's loss of 1, 8/5, 1/5.
    expected = (0.5 + (1.6 - 0.5) + 0.5 * 0.2**2) / 3
    assert value(LINE, ELL, distance=0, angle=1).item() == pytest.approx(expected)


def test_samples_in_one_place_have_no_distance_and_no_direction() -> None:
    twins = points((0, 0), (0, 0), (3, 0))
    # 0, 3, 3 over 2 against ¾, ¾, 3/2; cosines 0, 0, 1 against 1, −1, 1.
    assert value(twins, LINE, distance=1, angle=0).item() == pytest.approx((0.5 * 0.75**2 + 0.5 * 0.75**2) / 3)
    assert value(twins, LINE, distance=0, angle=1).item() == pytest.approx((0.5 + 0.5) / 3)


def test_both_add_up_as_the_paper_weighs_them() -> None:
    parts = [value(LINE, ELL, distance=1, angle=0), value(LINE, ELL, distance=0, angle=1)]
    torch.testing.assert_close(value(LINE, ELL), 25 * parts[0] + 50 * parts[1])


@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 1_000), st.floats(1e-3, 1e3), st.floats(-9.0, 9.0))
def test_rotations_factors_and_shifts_change_nothing(
    samples: int, width: int, seed: int, factor: float, shift: float
) -> None:
    draw = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, samples, width, generator=draw, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(width, width, generator=draw, dtype=torch.float64)).Q
    expected = value(student, teacher)
    torch.testing.assert_close(value(factor * student @ rotation + shift, teacher), expected)
    torch.testing.assert_close(value(student, factor * teacher @ rotation + shift), expected)
    # Nor does room for more dimensions.
    torch.testing.assert_close(value(torch.cat([student, student.new_ones(samples, 3)], dim=1), teacher), expected)


def test_pairs_weigh_as_their_samples_weights_multiplied() -> None:
    weight = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64)
    # Weights 1, 2, 2 of the distances 1, 1, 2 and 3, 5, 4, whose means are 7/5 and 21/5.
    differences = (1 / 1.4 - 3 / 4.2, 1 / 1.4 - 5 / 4.2, 2 / 1.4 - 4 / 4.2)
    expected = sum(share * 0.5 * each**2 for share, each in zip((1, 2, 2), differences, strict=True)) / 5
    assert value(LINE, ELL, weight, distance=1, angle=0).item() == pytest.approx(expected)


def test_too_few_samples_and_equal_ones_say_nothing() -> None:
    one = points((3, 4))
    assert value(one, one * 2) == 0.0
    # Two samples have a distance, which is its own mean, and no angle.
    assert value(points((0, 0), (3, 4)), points((0, 0), (1, 0))) == 0.0
    heap = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    found = value(heap, torch.arange(12.0).double().view(4, 3).sin())
    assert math.isfinite(found.item())
    assert torch.equal(torch.autograd.grad(found, heap)[0], torch.zeros_like(heap))


def test_layers_add_up_and_may_be_maps() -> None:
    draw = torch.Generator().manual_seed(0)
    own, its = torch.randn(4, 3, 2, 2, generator=draw), torch.randn(4, 5, 1, 1, generator=draw)
    logits = torch.zeros(4, 2)
    both = build_loss("relational", layers={"a": "b", "c": "d"})
    answers = (Answers(logits, {"a": own, "c": own}), Answers(logits, {"a": its, "c": its}))
    torch.testing.assert_close(
        both.value(*answers, Batch(1.0, torch.full((len(logits),), -1))), 2 * value(own.flatten(1), its.flatten(1))
    )
    assert both.needs_network
