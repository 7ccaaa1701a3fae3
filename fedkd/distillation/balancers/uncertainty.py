"""λ from the uncertainty learnt for each loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry

_LIMIT = 20.0
"""Bound on |log σ²|, so that exp stays far from overflow."""


@dataclass(kw_only=True)
class Uncertainty(LambdaBalancer):
    """λ = e^(−s_d)/(e^(−s_d) + e^(−s_c)), where each s = log σ² descends e^(−s)·L + s/2.

    Homoscedastic uncertainty weighting in its form for classification losses (Kendall, Gal & Cipolla 2018,
    arXiv 1705.07115). One gradient step of ``learning_rate`` per batch, s ← s − learning_rate·(½ − e^(−s)·L), from
    s = 0. It settles where e^(−s) = 1/(2L), at λ = L_cls/(L_dist + L_cls): the smaller loss gets the larger weight.
    """

    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    _dist: float = field(default=0.0, init=False, repr=False)
    _cls: float = field(default=0.0, init=False, repr=False)

    uses_gradients: ClassVar[bool] = False

    def propose(self, geometry: GradientGeometry) -> float:
        self._dist = self._stepped(self._dist, geometry.loss_dist)
        self._cls = self._stepped(self._cls, geometry.loss_cls)
        return 0.5 * (1.0 + math.tanh((self._cls - self._dist) / 2.0))

    def policy_state(self) -> dict[str, Any]:
        return {"dist": self._dist, "cls": self._cls}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        self._dist, self._cls = state["dist"], state["cls"]

    def _stepped(self, log_variance: float, loss: float) -> float:
        gradient = 0.5 - math.exp(-log_variance) * loss
        return min(max(log_variance - self.learning_rate * gradient, -_LIMIT), _LIMIT)
