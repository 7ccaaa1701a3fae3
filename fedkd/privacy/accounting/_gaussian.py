"""The Gaussian mechanism without sampling, which composes exactly.

SciPy's functions take a third of a second to import, which only those who count ε should pay.
"""

import math
import sys
from collections.abc import Callable

_SMALL = 1e-4
"""Below this μ the difference of two erfcx is taken from its derivative, whose relative error is of order μ²."""


def gaussian_epsilon(*, noise_multiplier: float, releases: int = 1, delta: float) -> float:
    """The smallest ε for which ``releases`` Gaussian mechanisms, composed, are (ε, δ)-DP; exact, no bound.

    ``noise_multiplier`` is z = σ/Δ ≥ 0. The composition is one mechanism with μ = √releases/z, and ε solves
    δ(ε) = Φ(μ/2 − ε/μ) − e^ε·Φ(−μ/2 − ε/μ) (Balle and Wang 2018, arXiv 1805.06530, Theorem 8; Dong, Roth and Su 2019,
    arXiv 1905.02383). Infinite without noise. Raises ``ValueError`` for arguments out of range.
    """
    check_delta(delta)
    if not noise_multiplier >= 0:
        raise ValueError(f"noise_multiplier must be at least 0, got {noise_multiplier}; it is σ/Δ")
    if releases < 0:
        raise ValueError(f"releases must be at least 0, got {releases}")
    if releases == 0:
        return 0.0
    return epsilon_of_mu(math.inf if noise_multiplier == 0 else math.sqrt(releases) / noise_multiplier, delta)


def gaussian_delta(*, noise_multiplier: float, releases: int = 1, epsilon: float) -> float:
    """The smallest δ at ``epsilon`` ≥ 0, the inverse of ``gaussian_epsilon``; 0 below the smallest float."""
    if not noise_multiplier > 0:
        raise ValueError(f"noise_multiplier must be greater than 0, got {noise_multiplier}; without noise δ is 1")
    if releases < 0:
        raise ValueError(f"releases must be at least 0, got {releases}")
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0, got {epsilon}")
    mu = math.sqrt(releases) / noise_multiplier
    return 0.0 if mu == 0 else math.exp(_log_delta(mu / 2 - epsilon / mu, mu))


def gaussian_noise_multiplier(*, epsilon: float, releases: int = 1, delta: float) -> float:
    """The smallest z = σ/Δ with which ``releases`` Gaussian mechanisms are (ε, δ)-DP; the other inverse."""
    check_delta(delta)
    check_target(epsilon)
    if releases < 1:
        raise ValueError(f"releases must be at least 1, got {releases}")
    low = high = 1.0
    while epsilon_of_mu(low, delta) > epsilon:
        low /= 2
    while epsilon_of_mu(high, delta) <= epsilon:
        high *= 2
    mu = _root(lambda x: epsilon_of_mu(x, delta) - epsilon, low, high, 1e-14)
    return math.sqrt(releases) / mu


def epsilon_of_mu(mu: float, delta: float) -> float:
    """ε of μ-Gaussian differential privacy at ``delta``; μ may be infinite."""
    from scipy.special import ndtri

    if math.isinf(mu):
        return math.inf
    target = math.log(delta)
    # With a = μ/2 − ε/μ, δ rises in a; ε ≥ 0 is a ≤ μ/2, and δ ≤ Φ(a) bounds a from below.
    low, high = float(ndtri(delta)), mu / 2
    if low >= high or _log_delta(high, mu) <= target:
        return 0.0
    return mu * (mu / 2 - _root(lambda a: _log_delta(a, mu) - target, low, high, 8 * sys.float_info.epsilon))


def _root(function: Callable[[float], float], low: float, high: float, precision: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, low, high, xtol=1e-300, rtol=precision))


def _log_delta(a: float, mu: float) -> float:
    """log δ at ε = μ(μ/2 − a) ≥ 0, as Φ(a) − ½·e^(−a²/2)·erfcx((μ − a)/√2), without overflow or cancellation."""
    from scipy.special import erfcx, ndtr

    upper = (mu - a) / math.sqrt(2)
    if a > 0 and mu >= _SMALL:
        return _log(float(ndtr(a)) - 0.5 * math.exp(-a * a / 2) * float(erfcx(upper)))
    if mu >= _SMALL:
        return _log(0.5 * float(erfcx(-a / math.sqrt(2)) - erfcx(upper))) - a * a / 2
    # erfcx(x − h) − erfcx(x + h) = −2h·erfcx′(x) + O(h³), h = μ/√8
    middle = (mu / 2 - a) / math.sqrt(2)
    slope = 2 / math.sqrt(math.pi) - 2 * middle * float(erfcx(middle))
    return _log(0.5 * mu / math.sqrt(2) * slope) - a * a / 2


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1, got {delta}; well below 1/units is usual")


def check_target(epsilon: float) -> None:
    """Raises ``ValueError`` for a target ε that no noise can meet."""
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise ValueError(f"epsilon must be finite and greater than 0, got {epsilon}")
