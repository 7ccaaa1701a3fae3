"""The bound from one run with many canaries."""

import math

import numpy as np
import pytest

from fedkd.audit.one_run import one_run_epsilon, one_run_p_value


def test_p_values_by_hand() -> None:
    # At ε = 0 every guess is a coin; all ten right: 2⁻¹⁰.
    assert one_run_p_value(10, 10, 10, epsilon=0.0, delta=0.0) == pytest.approx(2**-10)
    # At ε = ln 3 three of four are right; both of two: 9/16.
    assert one_run_p_value(5, 2, 2, epsilon=math.log(3), delta=0.0) == pytest.approx(9 / 16)
    # δ adds 2mδ·max_i P[v > X ≥ v − i]/i = 2·5·0.01·max(6/16, (6 + 1)/16/2) for v = 2.
    assert one_run_p_value(5, 2, 2, epsilon=math.log(3), delta=0.01) == pytest.approx(9 / 16 + 0.1 * 6 / 16)
    assert one_run_p_value(5, 2, 0, epsilon=1.0, delta=0.01) == 1.0


def test_epsilon_of_a_hundred_right_guesses() -> None:
    included = np.arange(100) % 2 == 0
    # Six numbers of guesses share the error of 5 %: q¹⁰⁰ = 0.05/6.
    right = (0.05 / 6) ** 0.01
    found, guesses = one_run_epsilon(included.astype(float), included, delta=0.0)
    assert guesses == 100
    assert found == pytest.approx(math.log(right / (1 - right)), abs=1e-6)


def test_ties_are_left_alone() -> None:
    included = np.arange(100) < 50
    assert one_run_epsilon(np.zeros(100), included, delta=0.0) == (0.0, 0)


def test_the_bound_is_rarely_above_the_truth() -> None:
    draw, share, exceeded = np.random.default_rng(0), math.e**2 / (1 + math.e**2), 0
    for _ in range(100):
        included = draw.random(300) < 0.5
        scores = np.where(draw.random(300) < share, included, ~included).astype(float)
        exceeded += one_run_epsilon(scores, included, delta=0.0)[0] > 2
    assert exceeded <= 5


def test_scores_that_know_nothing_show_nothing() -> None:
    draw = np.random.default_rng(1)
    assert one_run_epsilon(draw.random(1000), draw.random(1000) < 0.5, delta=1e-5)[0] < 0.1


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="correct ≤ guesses ≤ canaries"):
        one_run_p_value(5, 3, 4, epsilon=1.0, delta=0.0)
    with pytest.raises(ValueError, match="epsilon must be at least 0"):
        one_run_p_value(5, 3, 2, epsilon=-1.0, delta=0.0)
    with pytest.raises(ValueError, match="one each per canary"):
        one_run_epsilon(np.zeros(3), np.zeros(4, dtype=bool), delta=0.0)
    with pytest.raises(ValueError, match="NaN"):
        one_run_epsilon(np.array([np.nan, 0.0]), np.array([True, False]), delta=0.0)
