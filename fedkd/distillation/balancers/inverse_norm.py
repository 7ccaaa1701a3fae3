"""λ that gives both gradients the same length."""

from dataclasses import dataclass

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class InverseNorm(LambdaBalancer):
    """λ = √c/(√a + √c), so that λ‖∇L_dist‖ = (1−λ)‖∇L_cls‖; blind to the angle; ½ when both vanish.

    IMTL-G with two losses (Liu et al. 2021), and Nash-MTL's solution for normalised gradients.
    """

    def propose(self, geometry: GradientGeometry) -> float:
        dist, task = geometry.a**0.5, geometry.c**0.5
        return task / (dist + task) if dist + task > 0 else 0.5
