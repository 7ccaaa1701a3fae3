"""λ that follows the loss on held-out data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry

_EDGE = 1e-4
"""λ keeps this far from 0 and 1: beyond, its logit runs away and would take long to return."""


@dataclass(kw_only=True)
class ValidationGuided(LambdaBalancer):
    """logit λ ← logit λ + ``step_size``·h, with h = ∇L_val·(∇L_dist − ∇L_cls).

    After one SGD step of size η along λ∇L_dist + (1−λ)∇L_cls, dL_val/dλ = −η·h to first order: h > 0 says that
    distillation lowers the validation loss more, so λ rises. h is the hypergradient of one step, as in bilevel
    optimisation by a one-step look-ahead (Ren et al. 2018, arXiv 1803.09050), not normalised by the gradients; moving
    the logit is exponentiated gradient descent on the weights (λ, 1−λ).

    ``start``: λ before the first slope. ``slope_ema``: share of the past in the running mean of h; 0 uses each h alone.
    Where a step brings no ``validation_slope``, λ stays.
    """

    asks_for: ClassVar[Literal["nothing", "slope", "errors"]] = "slope"
    uses_gradients: ClassVar[bool] = False

    start: Annotated[float, Field(gt=0, lt=1)] = 0.5
    step_size: Annotated[float, Field(gt=0)] = 0.1
    slope_ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    _logit: float | None = field(default=None, init=False, repr=False)
    _slope: float | None = field(default=None, init=False, repr=False)

    def propose(self, geometry: GradientGeometry) -> float:
        logit = _logit_of(self.start) if self._logit is None else self._logit
        if (slope := geometry.validation_slope) is not None:
            if self._slope is not None:
                slope = self.slope_ema * self._slope + (1.0 - self.slope_ema) * slope
            self._slope = slope
            logit += self.step_size * slope
        self._logit = min(max(logit, _logit_of(self.minimum)), _logit_of(self.maximum))
        return 0.5 * (1.0 + math.tanh(self._logit / 2.0))

    def policy_state(self) -> dict[str, Any]:
        return {"logit": self._logit, "slope": self._slope}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        self._logit, self._slope = state["logit"], state["slope"]


def _logit_of(share: float) -> float:
    kept = min(max(share, _EDGE), 1.0 - _EDGE)
    return math.log(kept / (1.0 - kept))
