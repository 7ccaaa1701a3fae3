"""The base class of every balancing policy."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, final

from pydantic import Field

from fedkd.core import plugins
from fedkd.core.errors import DivergedError
from fedkd.core.returned import returned_number
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class LambdaBalancer(ABC):
    """Sets λ, the weight of distillation in λ·L_dist + (1−λ)·L_cls.

    A policy implements ``propose``; callers call ``update``, which smooths the geometry, checks, and bounds. The three
    options below belong to every policy.

    ``ema``: share of the past in the running mean of (a, b, c) and the losses; 0 uses each batch's own geometry.
    ``minimum``, ``maximum``: bounds on λ.
    """

    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    minimum: Annotated[float, Field(ge=0, le=1)] = 0.0
    maximum: Annotated[float, Field(ge=0, le=1)] = 1.0
    _smoothed: GradientGeometry | None = field(default=None, init=False, repr=False)

    asks_for: ClassVar[Literal["nothing", "slope", "errors"]] = "nothing"
    """What the policy wants measured on the server's validation samples every few steps."""
    uses_gradients: ClassVar[bool] = True
    """Whether λ depends on a, b and c; where it does not, they are 0 on steps at which nothing else asks for them."""

    def __post_init__(self) -> None:
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must lie in [0, 1), got {self.ema}; 0 switches smoothing off")
        if not 0 <= self.minimum <= self.maximum <= 1:
            raise ValueError(f"0 ≤ minimum ≤ maximum ≤ 1 must hold, got {self.minimum} and {self.maximum}")

    @abstractmethod
    def propose(self, geometry: GradientGeometry) -> float:
        """λ for this step, before the bounds."""

    def policy_state(self) -> dict[str, Any]:
        """What the policy itself remembers between steps; empty for a policy without memory."""
        return {}

    def load_policy_state(self, state: Mapping[str, Any]) -> None:
        """Take up what ``policy_state`` returned."""

    @final
    def update(self, geometry: GradientGeometry) -> float:
        """λ in [minimum, maximum] for this step; raises ``ValueError`` for an impossible geometry."""
        _check(geometry)
        weight = returned_number(self.propose(self._smooth(geometry)), self, "propose")
        if not math.isfinite(weight):
            raise ValueError(f"{type(self).__name__} proposed λ = {weight} for {geometry}")
        return min(max(weight, self.minimum), self.maximum)

    @final
    def state_dict(self) -> dict[str, Any]:
        """Everything that has to survive an interruption."""
        smoothed = None if self._smoothed is None else vars(self._smoothed).copy()
        return {"smoothed": smoothed, "policy": self.policy_state()}

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self._smoothed = None if state["smoothed"] is None else GradientGeometry(**state["smoothed"])
        self.load_policy_state(state["policy"])

    def _smooth(self, geometry: GradientGeometry) -> GradientGeometry:
        if self.ema > 0 and (last := self._smoothed) is not None:
            keep = self.ema
            mixed = {
                name: keep * getattr(last, name) + (1 - keep) * getattr(geometry, name)
                for name in ("a", "b", "c", "loss_dist", "loss_cls")
            }
            geometry = replace(geometry, **mixed)
        self._smoothed = geometry
        return geometry


def scaled(geometry: GradientGeometry) -> tuple[float, float, float]:
    """(a, b, c) over max(a, c), with |b| ≤ √(ac), so that products neither overflow nor vanish; zeros stay zeros."""
    scale = max(geometry.a, geometry.c)
    if scale <= 0:
        return 0.0, 0.0, 0.0
    a, c = geometry.a / scale, geometry.c / scale
    limit = (a * c) ** 0.5
    return a, min(max(geometry.b / scale, -limit), limit), c


def _check(geometry: GradientGeometry) -> None:
    values = (geometry.a, geometry.b, geometry.c, geometry.loss_dist, geometry.loss_cls)
    if not all(math.isfinite(value) for value in values):
        raise DivergedError(f"the geometry must be finite, got {geometry}; lower distillation.learning_rate")
    slope = geometry.validation_slope
    if slope is not None and not math.isfinite(slope):
        raise DivergedError(f"validation_slope must be finite, got {slope}; lower distillation.learning_rate")
    if geometry.a < 0 or geometry.c < 0:
        raise ValueError(f"a and c are squared norms and must be ≥ 0, got {geometry}")


def build_balancer(name: str, **options: Any) -> LambdaBalancer:
    """The balancer ``name`` (a file of ``balancers/``, or ``module:Class``); raises ``PluginError`` for bad options."""
    balancer: LambdaBalancer = plugins.build(plugins.BALANCER, name, options)
    return balancer
