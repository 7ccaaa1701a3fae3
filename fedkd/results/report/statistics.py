"""Means over seeds, and how sure they are."""

import math
from collections.abc import Sequence

from scipy import stats


def mean_and_ci(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The mean and the half-width of Student's t interval for it; infinite for a single value."""
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return mean, math.inf
    return mean, float(stats.t.ppf(0.5 + level / 2, count - 1)) * _standard_error(values, mean)


def p_of_zero_mean(values: Sequence[float]) -> float | None:
    """The two-sided p-value of Student's t test that the mean is 0.

    None for a single value, and for values that are all the same, of which nothing is known but that they do not vary.
    """
    count = len(values)
    mean = math.fsum(values) / count
    error = _standard_error(values, mean) if count > 1 else 0.0
    return None if error == 0 else float(2 * stats.t.sf(abs(mean) / error, count - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm 1979, A simple sequentially rejective multiple test procedure).

    To reject where a corrected one is below 5 % errs in any of them with a probability of 5 % at most, however they
    depend on each other.
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _standard_error(values: Sequence[float], mean: float) -> float:
    count = len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
