"""λ as distillation's share of the gradients' energy."""

from dataclasses import dataclass

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class EnergyShare(LambdaBalancer):
    """λ = a/(a + c): a smooth version of ``rapid``, which follows the larger gradient; ½ when both vanish."""

    def propose(self, geometry: GradientGeometry) -> float:
        energy = geometry.a + geometry.c
        return geometry.a / energy if energy > 0 else 0.5
