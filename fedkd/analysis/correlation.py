"""Whether two numbers rise together, where that can be told."""

import math

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor


def correlation(first: Float[Tensor, " samples"], second: Float[Tensor, " samples"]) -> float | None:
    """Pearson's, in [-1, 1]; None where one of them is constant."""
    deviations = [each.double() - each.double().mean() for each in (first, second)]
    # Rounding leaves a constant with a deviation of about nothing.
    sizes = [float(each.norm()) for each in deviations]
    floors = [1e-12 * max(float(each.double().norm()), 1e-300) for each in (first, second)]
    if any(size <= floor for size, floor in zip(sizes, floors, strict=True)):
        return None
    return float((deviations[0] @ deviations[1]) / (sizes[0] * sizes[1]))


def rank_correlation(first: Float[Tensor, " samples"], second: Float[Tensor, " samples"]) -> float | None:
    """Spearman's, in [-1, 1]: that of the ranks, of which equal numbers share theirs; None where one is constant."""
    ranks = [torch.from_numpy(stats.rankdata(each.double().numpy())) for each in (first, second)]
    return correlation(ranks[0], ranks[1])


def partial(of: float | None, first: float | None, second: float | None) -> float | None:
    """A correlation ``of`` two numbers once a third, which they have ``first`` and ``second`` with, is held fixed.

    (r − r₁r₂)/√((1 − r₁²)(1 − r₂²)); None where one is unknown, or the third settles one of the two.
    """
    if of is None or first is None or second is None:
        return None
    left = (1 - first**2) * (1 - second**2)
    return None if left < 1e-12 else max(-1.0, min(1.0, (of - first * second) / math.sqrt(left)))
