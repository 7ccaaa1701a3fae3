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
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
    return mean, float(stats.t.ppf(0.5 + level / 2, count - 1)) * spread
