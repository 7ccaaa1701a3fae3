"""The two parts of an ensemble's entropy, against ensembles whose parts are known."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedkd.analysis.uncertainty import detection, entropy, split


def _log(rows: list[list[list[float]]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_two_members_that_contradict_each_other_know_all_but_whom_to_believe() -> None:
    found = split(_log([[[1.0, 0.0]], [[0.0, 1.0]]]))

    assert found.total.item() == pytest.approx(math.log(2))
    assert found.aleatoric.item() == 0
    assert found.epistemic.item() == pytest.approx(math.log(2))


def test_members_that_agree_leave_only_what_nobody_can_know() -> None:
    found = split(_log([[[0.5, 0.25, 0.25]]] * 3))

    assert found.epistemic.item() == pytest.approx(0, abs=1e-15)
    assert found.aleatoric.item() == found.total.item() == pytest.approx(1.5 * math.log(2))


def test_a_sure_and_an_undecided_member_are_split_by_hand() -> None:
    # mean (3/4, 1/4); H = log 4 − 3/4 log 3.
    found = split(_log([[[1.0, 0.0]], [[0.5, 0.5]]]))

    assert found.total.item() == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert found.aleatoric.item() == pytest.approx(math.log(2) / 2)
    assert found.epistemic.item() == pytest.approx(1.5 * math.log(2) - 0.75 * math.log(3))


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(2, 12), st.sampled_from([0.0, 0.1, 3.0, 1e3]))
def test_the_parts_add_up(seed: int, members: int, classes: int, scale: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    found = split((scale * torch.randn(members, 7, classes, generator=draw)).log_softmax(dim=-1))

    torch.testing.assert_close(found.aleatoric + found.epistemic, found.total, rtol=0, atol=1e-6)
    assert bool((found.epistemic >= 0).all())
    assert bool((found.total <= math.log(classes) + 1e-6).all())


def test_entropy_is_that_of_a_uniform_and_of_a_certain_distribution() -> None:
    assert entropy(torch.zeros(3, 8).log_softmax(dim=-1)).tolist() == pytest.approx([math.log(8)] * 3)
    assert entropy(torch.tensor([[0.0, -torch.inf]])).tolist() == [0.0]


def test_detection_counts_the_pairs_in_the_right_order() -> None:
    # Of six pairs, four are in order and one is tied.
    assert detection(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 5.0])) == pytest.approx(4.5 / 6)
    assert detection(torch.tensor([1.0, 1.0]), torch.tensor([1.0])) == 0.5
