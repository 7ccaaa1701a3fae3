"""The same temperature throughout."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.temperature import Temperature, TemperatureSchedule, check_temperature


@dataclass(kw_only=True)
class Constant(TemperatureSchedule):
    """T = ``value`` at every step (Hinton, Vinyals & Dean 2015, arXiv 1503.02531)."""

    value: Temperature = 2.0

    def __post_init__(self) -> None:
        check_temperature("value", self.value)

    def at(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> float:
        return self.value
