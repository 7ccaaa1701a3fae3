"""How a mechanism is told its noise: as a multiplier, or as the ε it has to reach."""

from collections.abc import Callable, Mapping

from fedkd.privacy.accounting import DpEvent, calibrated_noise_multiplier, repeated
from fedkd.privacy.accounting._events import compress
from fedkd.privacy.guarantee import Release
from fedkd.privacy.ledger import largest_epsilon

LARGEST_SCALE = 1e9
"""Of noise relative to what it hides, and of what logits or gradients are clipped to; the inverse is the smallest."""

SMALLEST_EPSILON, LARGEST_EPSILON = 1e-9, 1e9
"""Ends of what can be asked for.

With a smaller target nothing is left but noise, and floating point has no noise that meets it to the last digits; a
larger one promises nothing, and the square of the noise that meets it may be no number.
"""


def check_epsilon(target_epsilon: float) -> None:
    """Raises ``ValueError`` for an ε that is no target."""
    if not SMALLEST_EPSILON <= target_epsilon <= LARGEST_EPSILON:
        raise ValueError(
            f"target_epsilon must lie between {SMALLEST_EPSILON:g} and {LARGEST_EPSILON:g}, got {target_epsilon}; "
            "from 1 to 10 is usual"
        )


def check_scale(name: str, value: float) -> None:
    """Raises ``ValueError`` for a noise or a bound of so odd a size that its square may be no number."""
    if not 1 / LARGEST_SCALE <= value <= LARGEST_SCALE:
        raise ValueError(
            f"{name} must lie between {1 / LARGEST_SCALE:g} and {LARGEST_SCALE:g}, got {value}; from 0.1 to 10 is usual"
        )


def check_noise(noise_multiplier: float | None, target_epsilon: float | None) -> None:
    """Raises ``ValueError`` unless exactly one of the two is given, and makes sense."""
    if (noise_multiplier is None) == (target_epsilon is None):
        raise ValueError(
            "give either noise_multiplier, the noise's standard deviation over the sensitivity, or target_epsilon, "
            f"the ε of the whole run; got {noise_multiplier} and {target_epsilon}"
        )
    if noise_multiplier is not None:
        check_scale("noise_multiplier", noise_multiplier)
    if target_epsilon is not None:
        check_epsilon(target_epsilon)


def fixed_noise(noise: float | None, name: str = "noise_multiplier") -> float:
    """The noise; raises ``ValueError`` where it still has to be found from the target."""
    if noise is None:
        raise ValueError(f"{name} is not known yet; take what calibrated() returns")
    return noise


def noise_for_target(
    event: Callable[[Release, float], DpEvent],
    releases: Mapping[int, tuple[Release, int]],
    *,
    epsilon: float,
    delta: float,
) -> float:
    """The noise with which no client's ε after its rounds exceeds ``epsilon``; up to 0.1 % too large.

    ``event(release, noise)`` is what a round takes, the less the more noise; ``releases`` holds each client's round and
    how many.
    """
    different = sorted(set(releases.values()), key=lambda each: (each[0].examples, -each[1]))

    def spent(each: tuple[Release, int], noise: float) -> DpEvent:
        return compress(repeated(event(each[0], noise), each[1]))

    # The client with the fewest samples nearly always has the largest ε; the others are only checked.
    noise = calibrated_noise_multiplier(lambda z: spent(different[0], z), epsilon=epsilon, delta=delta)
    while largest_epsilon((spent(each, noise) for each in different), delta) > epsilon:
        noise *= 1.001
    return noise
