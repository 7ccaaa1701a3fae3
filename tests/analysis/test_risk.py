"""The bound on the student's error, by hand and for any predictions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedkd.analysis.risk import bound


def test_six_samples_by_hand() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    teacher = torch.tensor([0, 0, 1, 2, 2, 1])
    # Wrong with its teacher right, right with it wrong, and another mistake than its teacher's.
    student = torch.tensor([0, 1, 1, 1, 2, 0])
    found = bound(student, teacher, labels, torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 1]))
    assert (found.error, found.teacher_error) == pytest.approx((2 / 6, 2 / 6))
    assert (found.disagreement_train, found.disagreement_test, found.gap) == pytest.approx((1 / 4, 3 / 6, 1 / 4))
    assert (found.right_alone, found.both_wrong) == pytest.approx((1 / 6, 1 / 6))
    assert found.bound == pytest.approx(5 / 6)
    assert found.slack == pytest.approx(3 / 6)


def test_a_copy_of_the_teacher_is_bounded_tightly() -> None:
    teacher, labels = torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1])
    found = bound(teacher, teacher, labels, teacher[:2], teacher[:2])
    assert (found.error, found.bound, found.slack) == (0.5, 0.5, 0.0)


_CLASSES = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40)


@given(_CLASSES, _CLASSES)
def test_the_bound_always_holds_and_is_loose_by_its_slack(
    test: list[tuple[int, int, int]], train: list[tuple[int, int, int]]
) -> None:
    student, teacher, labels = torch.tensor(test).unbind(1)
    found = bound(student, teacher, labels, *torch.tensor(train).unbind(1)[:2])
    assert found.error <= found.bound + 1e-12
    assert found.bound - found.error == pytest.approx(found.slack, abs=1e-12)


def test_there_must_be_samples() -> None:
    some, none = torch.tensor([0]), torch.tensor([], dtype=torch.int64)
    with pytest.raises(ValueError, match="got 1 of test and 0 of training"):
        bound(some, some, some, none, none)
    with pytest.raises(ValueError, match="got 0 of test and 1 of training"):
        bound(none, none, none, some, some)
