"""Means, p-values, and their correction, against SciPy and by hand."""

import pytest
from scipy import stats

from fedkd.results.report.statistics import holm, mean_and_ci, p_of_zero_mean


def test_the_interval_and_the_test_are_those_of_scipy() -> None:
    values = [1.0, 2.5, -0.5, 3.0]
    mean, half = mean_and_ci(values)
    test = stats.ttest_1samp(values, 0.0)
    interval = test.confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((interval.low, interval.high))
    assert p_of_zero_mean(values) == pytest.approx(test.pvalue)


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0, 2.0], [0.0, 0.0]])
def test_values_that_do_not_vary_have_no_p(values: list[float]) -> None:
    assert p_of_zero_mean(values) is None


def test_holms_correction_by_hand() -> None:
    # The smallest times four, the next times three, and none below one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
