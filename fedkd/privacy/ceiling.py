"""The most that any attack can find."""

import math


def ceiling(fpr: float, *, epsilon: float, delta: float) -> float:
    """The largest true-positive rate of any attack on an (ε, δ)-private mechanism (Kairouz et al. 2015, 1311.0776)."""
    if fpr == 0:
        return delta
    # Two bounds: one on whom it takes for members, one on whom it does not.
    steep = delta + math.exp(epsilon + math.log(fpr)) if epsilon + math.log(fpr) < 0 else 1.0
    flat = 1 - math.exp(-epsilon) * (1 - delta - fpr)
    return min(1.0, steep, max(flat, fpr))
