"""λ at which the loss falls by a chosen share of what is possible."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer, scaled
from fedkd.distillation.geometry import GradientGeometry

_FLAT = 1e-12
"""Below this share of max(a, c), a rise of q is rounding."""


@dataclass(kw_only=True)
class TargetDecrease(LambdaBalancer):
    """The root of q(λ) = ρ·q_max + (1−ρ)·q_min nearest the last λ; q is the first-order decrease.

    ρ is the importance analysis' "required degree of loss reduction": 1 is ``rapid``, 0 is ``gradual``; it moves in a
    straight line from ``rho_start`` at a round's first step to ``rho_end`` at its last. q_max and q_min are taken over
    [minimum, maximum]. ``start`` stands for the last λ before the first step; a constant q leaves λ where it is; of two
    roots equally near, the larger is taken.
    """

    rho_start: Annotated[float, Field(ge=0, le=1)] = 1.0
    rho_end: Annotated[float, Field(ge=0, le=1)] = 0.0
    start: Annotated[float, Field(ge=0, le=1)] = 0.5
    _last: float | None = field(default=None, init=False, repr=False)

    def propose(self, geometry: GradientGeometry) -> float:
        last = min(max(self.start if self._last is None else self._last, self.minimum), self.maximum)
        rho = self.rho_start + (self.rho_end - self.rho_start) * geometry.progress
        roots = _roots(*scaled(geometry), self.minimum, self.maximum, rho)
        self._last = min(roots, key=lambda root: (abs(root - last), -root), default=last)
        return self._last

    def policy_state(self) -> dict[str, Any]:
        return {"last": self._last}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        self._last = state["last"]


def _roots(a: float, b: float, c: float, low: float, high: float, rho: float) -> list[float]:
    """The solutions in [low, high] of q(λ) = ρ·q_max + (1−ρ)·q_min; none when q is constant there.

    Measured from its lowest point on the interval, q rises by slope·d + curvature·d² with the distance d.
    """
    curvature = max(a - 2.0 * b + c, 0.0)
    at_low, at_high = b - c + curvature * low, b - c + curvature * high  # half the derivative of q at the bounds
    if at_low >= 0.0:
        lowest, slope = low, 2.0 * at_low
    elif at_high <= 0.0:
        lowest, slope = high, -2.0 * at_high
    else:
        lowest, slope = (c - b) / curvature, 0.0
    left, right = lowest - low, high - lowest
    reach = max(left, right)
    rise = slope * reach + curvature * reach * reach
    if rise <= _FLAT:
        return []
    wanted = rho * rise
    # This form of the quadratic's positive root loses no digits when the curvature is small.
    divisor = slope + (slope * slope + 4.0 * curvature * wanted) ** 0.5
    distance = min(2.0 * wanted / divisor, reach) if divisor > 0.0 else 0.0
    return [
        lowest + sign * distance
        for sign, room in ((-1.0, left), (1.0, right))
        if distance <= room and (room or not distance)
    ]
