"""λ on half a cosine over the steps of a round."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class Cosine(LambdaBalancer):
    """λ = end + (start − end)·(1 + cos πt)/2, with t from 0 at a round's first step to 1 at its last.

    The annealing of SGDR (Loshchilov & Hutter 2017, arXiv 1608.03983), applied to λ: slow at both ends.
    """

    start: Annotated[float, Field(ge=0, le=1)] = 1.0
    end: Annotated[float, Field(ge=0, le=1)] = 0.0

    uses_gradients: ClassVar[bool] = False

    def propose(self, geometry: GradientGeometry) -> float:
        return self.end + (self.start - self.end) * (1.0 + math.cos(math.pi * geometry.progress)) / 2.0
