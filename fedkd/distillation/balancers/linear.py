"""λ on a straight line over the steps of a round."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class Linear(LambdaBalancer):
    """λ from ``start`` at a round's first step to ``end`` at its last."""

    start: Annotated[float, Field(ge=0, le=1)] = 1.0
    end: Annotated[float, Field(ge=0, le=1)] = 0.0

    uses_gradients: ClassVar[bool] = False

    def propose(self, geometry: GradientGeometry) -> float:
        return self.start + (self.end - self.start) * geometry.progress
