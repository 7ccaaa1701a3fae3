"""A temperature that changes by equal factors."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.temperature import Temperature, TemperatureSchedule, check_temperature


@dataclass(kw_only=True)
class Exponential(TemperatureSchedule):
    """T from ``start`` at the first step of the training to ``end`` at its last: start^(1−p)·end^p at progress p."""

    start: Temperature = 5.0
    end: Temperature = 1.0

    def __post_init__(self) -> None:
        check_temperature("start", self.start)
        check_temperature("end", self.end)

    def at(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> float:
        return float(self.start ** (1.0 - progress) * self.end**progress)
