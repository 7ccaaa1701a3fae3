"""ε of zero-concentrated differential privacy."""

import math

import numpy as np

LARGEST_ORDER = 10**9


def concentrated_epsilon(rho: float, delta: float) -> float:
    """An ε for Rényi divergences of at most ``rho``·α at every whole order α ≥ 2.

    min over α of αρ + ln(1 − 1/α) − (ln δ + ln α)/(α − 1) (Canonne, Kamath and Steinke 2020, arXiv 2004.00010,
    Proposition 12); every order gives a bound, so trying only some of the large ones costs tightness alone.
    """
    if rho == 0:
        return 0.0
    orders = np.unique(np.concatenate([np.arange(2, 2049), np.geomspace(2048, LARGEST_ORDER, 20_000).round()]))
    bounds = orders * rho + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(bounds.min()))
