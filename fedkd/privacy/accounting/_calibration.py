"""From a target ε to the noise that meets it."""

import math
from collections.abc import Callable, Iterable

from fedkd.privacy.accounting._compose import composed_epsilon
from fedkd.privacy.accounting._events import GaussianEvent, compress
from fedkd.privacy.accounting._gaussian import check_target, gaussian_noise_multiplier

_PRECISION = 1e-3


def calibrated_noise_multiplier(
    events: Callable[[float], Iterable[GaussianEvent]], *, epsilon: float, delta: float
) -> float:
    """The noise multiplier, up to 0.1 % too large, with which ``events(multiplier)`` meet ``epsilon`` at ``delta``.

    ``events`` must lose less the larger its argument. Exact where nothing is sampled. Raises ``ValueError`` for a
    target out of range.
    """
    check_target(epsilon)
    parts = compress(events(1.0))
    plain = all(part.sampling_rate == 1.0 and not part.concentrated for part in parts)
    if plain and len(parts) == 1 and parts[0].noise_multiplier == 1.0:
        exact = gaussian_noise_multiplier(epsilon=epsilon, releases=parts[0].count, delta=delta)
        # A unit in the last place may lie on the wrong side.
        return exact if composed_epsilon(events(exact), delta) <= epsilon else exact * (1 + 1e-12)

    def meets(noise: float) -> bool:
        return composed_epsilon(events(noise), delta) <= epsilon

    high = 1.0
    while not meets(high):
        high *= 2
    low = high / 2
    while meets(low):
        low, high = low / 2, low
    while high / low > 1 + _PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high
