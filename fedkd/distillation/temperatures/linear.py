"""A temperature on a straight line."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.temperature import Temperature, TemperatureSchedule, check_temperature


@dataclass(kw_only=True)
class Linear(TemperatureSchedule):
    """T from ``start`` at the first step of the training to ``end`` at its last, by equal amounts."""

    start: Temperature = 5.0
    end: Temperature = 1.0

    def __post_init__(self) -> None:
        check_temperature("start", self.start)
        check_temperature("end", self.end)

    def at(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> float:
        return (1.0 - progress) * self.start + progress * self.end
