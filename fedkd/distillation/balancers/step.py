"""λ in steps over a round."""

import bisect
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field

from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry


@dataclass(kw_only=True)
class Step(LambdaBalancer):
    """λ = values[i], constant between switches.

    ``at``: the shares of the round, rising in (0, 1), from which on the second, third, ... value holds.
    ``every``: switch after that many steps instead; the last value stays.
    With neither, the values share the round equally.
    """

    values: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = (0.9, 0.5, 0.1)
    at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None
    every: Annotated[int, Field(ge=1)] | None = None

    uses_gradients: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.values:
            raise ValueError("values must not be empty; give one λ per stage, such as 0.9, 0.5")
        if self.at is not None and self.every is not None:
            raise ValueError(f"give at or every, not both; got at={self.at} and every={self.every}")
        if self.at is not None and len(self.at) != len(self.values) - 1:
            raise ValueError(f"at needs one share per switch, {len(self.values) - 1} of them, got {len(self.at)}")
        if self.at is not None and any(left >= right for left, right in zip(self.at, self.at[1:], strict=False)):
            raise ValueError(f"at must rise strictly, got {self.at}")

    def propose(self, geometry: GradientGeometry) -> float:
        last = len(self.values) - 1
        if self.every is not None:
            stage = geometry.step // self.every
        elif self.at is not None:
            stage = bisect.bisect_right(self.at, geometry.progress)
        else:
            stage = int(geometry.progress * len(self.values))
        return self.values[min(stage, last)]
