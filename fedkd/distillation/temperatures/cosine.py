"""A temperature on half a cosine wave."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.temperature import Temperature, TemperatureSchedule, check_temperature


@dataclass(kw_only=True)
class Cosine(TemperatureSchedule):
    """T from ``start`` at the first step of the training to ``end`` at its last, level at both and steepest midway.

    The shape of cosine annealing (Loshchilov & Hutter 2017, arXiv 1608.03983, Eq. 5).
    """

    start: Temperature = 5.0
    end: Temperature = 1.0

    def __post_init__(self) -> None:
        check_temperature("start", self.start)
        check_temperature("end", self.end)

    def at(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> float:
        share = (1.0 + math.cos(math.pi * progress)) / 2.0
        return share * self.start + (1.0 - share) * self.end
