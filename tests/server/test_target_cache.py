"""Targets over rounds: what is fresh, what is averaged, and what is given back."""

import math

import pytest
import torch

from fedkd.aggregation.types import Teacher
from fedkd.server.target_cache import TargetCache

HALF = [0.5, 0.5]
SURE = [0.9, 0.1]


def teacher(*rows: list[float], weight: list[float] | None = None) -> Teacher:
    return Teacher.from_probabilities(
        torch.tensor(rows), sample_weight=None if weight is None else torch.tensor(weight)
    )


def at(*positions: int) -> torch.Tensor:
    return torch.tensor(positions, dtype=torch.long)


def test_without_cache_and_memory_the_teacher_passes_unchanged() -> None:
    cache, given = TargetCache(0, 4), teacher(SURE, HALF)
    found = cache.merge(1, given, at(1, 3), at(1, 3))
    assert found.teacher is given
    assert found.positions.tolist() == [1, 3]
    assert not bool(cache.fresh(2, at(0, 1, 2, 3)).any())


def test_a_target_is_fresh_for_exactly_the_given_number_of_rounds() -> None:
    cache = TargetCache(2, 4)
    cache.merge(3, teacher(SURE), at(1), at(1))
    assert [bool(cache.fresh(round, at(1))) for round in (4, 5, 6)] == [True, True, False]
    assert not bool(cache.fresh(4, at(0)))


def test_stored_targets_complete_new_ones_in_the_order_asked_for() -> None:
    cache = TargetCache(1, 4)
    cache.merge(1, teacher(SURE, HALF, weight=[1.0, 0.0]), at(0, 2), at(0, 2))
    found = cache.merge(2, teacher([0.2, 0.8]), at(3), at(0, 2, 3))
    assert found.positions.tolist() == [0, 2, 3]
    torch.testing.assert_close(found.teacher.probabilities, torch.tensor([SURE, HALF, [0.2, 0.8]]))
    assert found.teacher.sample_weight.tolist() == [1.0, 0.0, 1.0]
    again = cache.merge(3, None, at(), at(3))
    torch.testing.assert_close(again.teacher.probabilities, torch.tensor([[0.2, 0.8]]))


def test_nothing_asked_and_nothing_stored_is_an_error() -> None:
    with pytest.raises(ValueError, match="no targets yet"):
        TargetCache(1, 4).merge(1, None, at(), at(0))


def test_a_memory_averages_logarithms_without_favouring_the_first_round() -> None:
    # β = 1/4: after two rounds the weights are 1/4·3/4 and 3/4 over 15/16, that is 1/5 and 4/5.
    cache = TargetCache(0, 3, memory=0.25)
    first = cache.merge(1, teacher(SURE), at(1), at(1))
    torch.testing.assert_close(first.teacher.probabilities, torch.tensor([SURE]))
    second = cache.merge(2, teacher([0.1, 0.9]), at(1), at(1))
    odds = (1 / 5) * math.log(9) - (4 / 5) * math.log(9)
    assert float(second.teacher.log_probabilities.diff(dim=1).neg()) == pytest.approx(odds, rel=1e-5)


def test_with_a_memory_all_known_samples_come_back_and_unknown_ones_do_not() -> None:
    cache = TargetCache(0, 5, memory=0.5)
    cache.merge(1, teacher(SURE, HALF), at(0, 4), at(0, 4))
    found = cache.merge(2, teacher([0.3, 0.7]), at(2), at(2))
    assert found.positions.tolist() == [0, 2, 4]
    torch.testing.assert_close(found.teacher.probabilities, torch.tensor([SURE, [0.3, 0.7], HALF]))


def test_a_saved_state_goes_on_as_the_original_does() -> None:
    going_on, resumed = TargetCache(2, 4, memory=0.3), TargetCache(2, 4, memory=0.3)
    going_on.merge(1, teacher(SURE, HALF), at(0, 1), at(0, 1))
    resumed.load_state_dict(going_on.state_dict())
    for cache in (going_on, resumed):
        assert cache.fresh(2, at(0, 1, 2)).tolist() == [True, True, False]
    new = teacher([0.4, 0.6], HALF)
    found, other = (cache.merge(2, new, at(0, 2), at(0, 2)) for cache in (going_on, resumed))
    assert torch.equal(found.teacher.log_probabilities, other.teacher.log_probabilities)
    assert torch.equal(found.positions, other.positions)
