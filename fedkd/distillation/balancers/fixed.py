"""A constant λ."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class Fixed(LambdaBalancer):
    """λ = ``value`` at every step (Hinton, Vinyals & Dean 2015, arXiv 1503.02531)."""

    value: Annotated[float, Field(ge=0, le=1)] = 0.5

    uses_gradients: ClassVar[bool] = False

    def propose(self, geometry: GradientGeometry) -> float:
        return self.value
