"""λ from how fast each loss has been falling."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry

_LARGEST = 1e100
"""Cap on the ratio of two losses, against overflow."""


@dataclass(kw_only=True)
class DWA(LambdaBalancer):
    """λ = exp(r_d/T)/(exp(r_d/T) + exp(r_c/T)), with r = L(t−1)/L(t−2) for each loss.

    Dynamic weight average (Liu, Johns & Davison 2019, arXiv 1803.10704): the loss that falls more slowly gets more
    weight, the more so the smaller ``temperature``. L(t−1) and L(t−2) are means over the last two full windows of
    ``window`` steps (the paper's are epochs); λ is ½ before there are two.
    """

    temperature: Annotated[float, Field(gt=0)] = 2.0
    window: Annotated[int, Field(ge=1)] = 10
    _current: list[list[float]] = field(default_factory=list, init=False, repr=False)
    _means: list[list[float]] = field(default_factory=list, init=False, repr=False)

    uses_gradients: ClassVar[bool] = False

    def propose(self, geometry: GradientGeometry) -> float:
        weight = 0.5
        if len(self._means) == 2:
            dist, task = (_ratio(now, before) for before, now in zip(*self._means, strict=True))
            weight = 0.5 * (1.0 + math.tanh((dist - task) / (2.0 * self.temperature)))
        self._current.append([geometry.loss_dist, geometry.loss_cls])
        if len(self._current) == self.window:
            means = [math.fsum(loss / self.window for loss in losses) for losses in zip(*self._current, strict=True)]
            self._means = [*self._means, means][-2:]
            self._current = []
        return weight

    def policy_state(self) -> dict[str, Any]:
        return {"current": [list(losses) for losses in self._current], "means": [list(mean) for mean in self._means]}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        self._current = [list(losses) for losses in state["current"]]
        self._means = [list(mean) for mean in state["means"]]


def _ratio(now: float, before: float) -> float:
    """How much of the loss is left; 1, no progress, when there was none before."""
    return min(max(now / before, 0.0), _LARGEST) if before > 0.0 else 1.0
