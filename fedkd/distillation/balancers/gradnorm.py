"""λ that lets both losses train at the same rate."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry

_LARGEST = 1e100
"""Cap on a loss relative to its first value, against overflow."""


@dataclass(kw_only=True)
class GradNorm(LambdaBalancer):
    """λ = w_d/2, where w_d + w_c = 2 descend Σ|wᵢ‖∇Lᵢ‖ − Ḡ·rᵢ^α| (Chen et al. 2018, arXiv 1711.02257).

    Ḡ is the mean of the weighted norms, held constant, and rᵢ = L̃ᵢ/mean(L̃) the relative inverse training rate with
    L̃ᵢ = Lᵢ/Lᵢ(0); Lᵢ(0) is the first loss this balancer sees, in the first round. The slower loss gets more weight,
    the more so the larger ``alpha``. Each step moves the weights against ‖∇Lᵢ‖·sign(...), here divided by the mean of
    the two norms so that ``learning_rate`` has no unit, keeps them ≥ ``floor``, and renormalises their sum.
    """

    alpha: Annotated[float, Field(ge=0, le=100)] = 1.5
    learning_rate: Annotated[float, Field(gt=0)] = 0.025
    floor: Annotated[float, Field(gt=0, lt=1)] = 0.01
    _weight: float = field(default=1.0, init=False, repr=False)
    _first: tuple[float, float] | None = field(default=None, init=False, repr=False)

    def propose(self, geometry: GradientGeometry) -> float:
        if self._first is None:
            self._first = (geometry.loss_dist, geometry.loss_cls)
        norms = (geometry.a**0.5, geometry.c**0.5)
        mean = (norms[0] + norms[1]) / 2.0
        if mean > 0.0:
            dist, task = norms[0] / mean, norms[1] / mean
            weights = (self._weight, 2.0 - self._weight)
            goal = (weights[0] * dist + weights[1] * task) / 2.0
            rates = self._rates(geometry)
            moved = [
                max(weight - self.learning_rate * norm * _sign(weight * norm - goal * rate**self.alpha), self.floor)
                for weight, norm, rate in zip(weights, (dist, task), rates, strict=True)
            ]
            self._weight = 2.0 * moved[0] / (moved[0] + moved[1])
        return self._weight / 2.0

    def policy_state(self) -> dict[str, Any]:
        return {"weight": self._weight, "first": None if self._first is None else list(self._first)}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        self._weight = state["weight"]
        self._first = None if state["first"] is None else (state["first"][0], state["first"][1])

    def _rates(self, geometry: GradientGeometry) -> tuple[float, float]:
        first = self._first or (0.0, 0.0)
        dist, task = _ratio(geometry.loss_dist, first[0]), _ratio(geometry.loss_cls, first[1])
        mean = (dist + task) / 2.0
        return (dist / mean, task / mean) if mean > 0.0 else (1.0, 1.0)


def _ratio(loss: float, first: float) -> float:
    """The loss relative to its first value; 1 when that was not positive."""
    return min(max(loss / first, 0.0), _LARGEST) if first > 0.0 else 1.0


def _sign(value: float) -> float:
    return float((value > 0.0) - (value < 0.0))
