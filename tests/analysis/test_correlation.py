"""Correlations, where they can be told."""

import pytest
import torch

from fedkd.analysis.correlation import correlation, partial, rank_correlation


def test_correlations_of_numbers_and_of_their_ranks() -> None:
    numbers = torch.tensor([1.0, 2.0, 3.0, 4.0])

    assert correlation(numbers, 5 - 2 * numbers) == pytest.approx(-1)
    assert rank_correlation(numbers, numbers.exp()) == pytest.approx(1)
    # Ranks 1 2 3 4 and 1.5 1.5 3 4: covariance 4.5, deviations √5 and √4.5.
    assert rank_correlation(numbers, torch.tensor([0.0, 0.0, 1.0, 9.0])) == pytest.approx(4.5 / (5 * 4.5) ** 0.5)


def test_a_constant_correlates_with_nothing() -> None:
    numbers = torch.tensor([1.0, 2.0, 3.0])

    assert correlation(numbers, torch.full((3,), 0.1)) is None
    assert rank_correlation(torch.zeros(3), numbers) is None
    assert rank_correlation(torch.zeros(1), torch.zeros(1)) is None


def test_a_correlation_by_way_of_a_third_number_vanishes_once_that_is_held_fixed() -> None:
    draw = torch.Generator().manual_seed(0)
    third, *noise = torch.randn(3, 20_000, generator=draw)
    first, second = third + noise[0], third + noise[1]
    known = [correlation(*pair) for pair in ((first, second), (first, third), (second, third))]

    assert known[0] == pytest.approx(0.5, abs=0.03)
    assert partial(*known) == pytest.approx(0, abs=0.03)
    assert partial(0.5, 0.0, 0.0) == 0.5
    assert partial(None, 0.5, 0.5) is None
    assert partial(0.5, 1.0, 0.5) is None
