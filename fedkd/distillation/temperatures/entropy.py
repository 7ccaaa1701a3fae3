"""A temperature that makes every round's teacher equally soft."""

import math
from dataclasses import dataclass, field
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.distillation.temperature import Temperature, TemperatureSchedule, check_temperature

HALVINGS = 30
"""Bisection steps on ln T: they leave its relative error at ln(maximum/minimum)/2³⁰, about 3·10⁻⁹ by default."""


@dataclass(kw_only=True)
class Entropy(TemperatureSchedule):
    """T at which the softened teacher's mean entropy is ``share`` of ln C, its largest value, within bounds.

    The entropy of softmax(z/T) rises with T (its derivative is Var(z)/T³ under the softened distribution), so the root
    is unique and found by bisection. Where there is none, T is a bound: ``maximum`` for a one-hot teacher, whose
    entropy stays near 0; ``minimum`` for a uniform one, whose entropy is ln C at any T, and for a single class.

    The search reads the whole teacher some thirty times. It is done once per teacher: the result is kept for as long
    as the same tensor object comes, which is then also kept alive, and which nobody may change in place.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    minimum: Temperature = 1.0
    maximum: Temperature = 20.0
    _last: tuple[Tensor, float] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share must lie in (0, 1), got {self.share}; it is the part of the largest entropy, ln C")
        check_temperature("minimum", self.minimum)
        check_temperature("maximum", self.maximum)
        if self.minimum > self.maximum:
            raise ValueError(f"minimum must not exceed maximum, got {self.minimum} and {self.maximum}; swap them")

    def at(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> float:
        if self._last is None or self._last[0] is not teacher:
            self._last = (teacher, self._solve(teacher))
        return self._last[1]

    def _solve(self, teacher: Tensor) -> float:
        if teacher.ndim != 2 or 0 in teacher.shape:
            raise ValueError(f"teacher must be [samples, classes], none of them 0; got {tuple(teacher.shape)}")
        if not bool(torch.isfinite(teacher).all()):
            raise ValueError("teacher must be finite log-probabilities; Teacher.from_probabilities floors zeros")
        logits = teacher.detach().double()
        # A shift changes no softmax, and keeps the best class finite at the smallest temperatures.
        logits = logits - logits.amax(dim=-1, keepdim=True)
        target = self.share * math.log(teacher.shape[1])
        if mean_entropy(logits, self.minimum) >= target:
            return self.minimum
        if mean_entropy(logits, self.maximum) <= target:
            return self.maximum
        low, high = math.log(self.minimum), math.log(self.maximum)
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            if mean_entropy(logits, math.exp(middle)) < target:
                low = middle
            else:
                high = middle
        return min(max(math.exp((low + high) / 2.0), self.minimum), self.maximum)


def mean_entropy(logits: Float[Tensor, "samples classes"], temperature: float) -> float:
    """The entropy of softmax(logits/T) in nats, averaged over samples."""
    return float(torch.special.entr((logits / temperature).softmax(dim=-1)).sum(dim=-1).mean())
