"""λ of the sum of two gradients, each freed of its conflict with the other."""

from dataclasses import dataclass

from fedkd.distillation.balancer import LambdaBalancer, scaled
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class PCGrad(LambdaBalancer):
    """λ = w_d/(w_d + w_c), with w_d = 1 − b/a and w_c = 1 − b/c for conflicting gradients (b < 0), else w_d = w_c = 1.

    Each gradient loses its component along the other, and both are added (Yu et al. 2020, arXiv 2001.06782). λ keeps
    the direction of that sum, which with two losses is also UPGrad's (Quinton & Rey 2024, arXiv 2406.16232); the length
    is that of a weighted mean. Exactly opposite gradients cancel.
    """

    def propose(self, geometry: GradientGeometry) -> float:
        a, b, c = scaled(geometry)
        if b >= 0.0:
            return 0.5
        dist, task = c * (a - b), a * (c - b)
        return dist / (dist + task) if dist + task > 0.0 else 0.5
