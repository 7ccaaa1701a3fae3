"""Numbers as words: exact where it matters, within the bound elsewhere, and never overflowing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkd.privacy.secure_sum.fixed_point import FixedPoint, to_words


def test_by_hand() -> None:
    fixed_point = FixedPoint(bits=2, terms=3)
    assert fixed_point.encode(np.array([0.0, 0.25, 0.3, 0.9, 1.0, -0.3])).tolist() == [0, 1, 1, 3, 4, -1]
    assert fixed_point.decode(to_words(np.array([3, -1, 12]))).tolist() == [0.75, -0.25, 3.0]
    assert fixed_point.error_bound == 0.75


@given(
    st.integers(1, 200),
    st.floats(1e-3, 1e4),
    st.data(),
)
def test_a_sum_is_within_its_bound_whatever_the_values(terms: int, bound: float, data: st.DataObject) -> None:
    fixed_point = FixedPoint.finest(terms, bound)
    share = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1, 1))
    values = bound * np.array(data.draw(st.lists(share, min_size=terms, max_size=terms)))
    total = np.zeros(1, dtype=np.uint32)
    for value in values:
        total += to_words(fixed_point.encode(np.array([value])))
    exact = math.fsum(values)
    assert abs(float(fixed_point.decode(total)[0]) - exact) <= fixed_point.error_bound + 1e-12 * abs(exact)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20))
def test_rounding_makes_nothing_longer(values: list[float]) -> None:
    fixed_point = FixedPoint(5, 10)
    assert (np.abs(fixed_point.encode(np.array(values))) <= np.abs(np.ldexp(values, 5))).all()


@pytest.mark.parametrize("terms", [1, 3, 100, 1000, 10_000])
def test_the_finest_is_the_finest_that_fits(terms: int) -> None:
    fixed_point = FixedPoint.finest(terms)
    assert terms * 2**fixed_point.bits < 2**31
    if fixed_point.bits < 24:
        with pytest.raises(ValueError, match=f"use at most {fixed_point.bits} bits or fewer clients"):
            FixedPoint(fixed_point.bits + 1, terms)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1.0001, -2.0])
def test_a_value_out_of_range_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite and within ±1"):
        FixedPoint.finest(3).encode(np.array([0.5, bad]))


def test_more_than_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="overflow"):
        FixedPoint.finest(100, 1e9)
    with pytest.raises(ValueError, match="overflow"):
        FixedPoint(24, 128)
    with pytest.raises(ValueError, match="overflow"):
        FixedPoint(20, 10, slack=3000.0)
