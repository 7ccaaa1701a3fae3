"""The λ of the fastest first-order decrease."""

from dataclasses import dataclass

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class Rapid(LambdaBalancer):
    """argmax of q(λ) over [minimum, maximum]: an endpoint, because q is convex (importance analysis, Eqs. 10–14).

    Equal ends give the larger one, distillation.
    """

    def propose(self, geometry: GradientGeometry) -> float:
        low, high = self.minimum, self.maximum
        return high if geometry.decrease(high) >= geometry.decrease(low) else low
