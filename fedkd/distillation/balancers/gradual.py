"""The λ of the gentlest first-order decrease: the min-norm point."""

from dataclasses import dataclass

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class Gradual(LambdaBalancer):
    """argmin of q(λ): λ* = (c − b)/(a − 2b + c), clipped to [0, 1].

    The importance analysis' "gradual" end, and MGDA with two losses (Sener & Koltun 2018, arXiv 1810.04650). Equal
    gradients leave λ free; it is then ½.
    """

    def propose(self, geometry: GradientGeometry) -> float:
        curvature = geometry.a - 2.0 * geometry.b + geometry.c
        if curvature <= 1e-12 * (geometry.a + geometry.c):
            return 0.5
        return min(max((geometry.c - geometry.b) / curvature, 0.0), 1.0)
