"""What the schedules share that make a teacher as soft as asked for."""

import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.distillation.divergence import Temperatures
from fedkd.distillation.temperature import Temperature, TemperatureSchedule, check_temperature

HALVINGS = 30
"""Bisection steps on ln T: they leave its relative error at ln(maximum/minimum)/2³⁰, about 3·10⁻⁹ by default."""


@dataclass(kw_only=True)
class Softness(TemperatureSchedule):
    """T at which the softened teacher's entropy is ``share`` of ln C, its largest value, within bounds.

    The entropy of softmax(z/T) rises with T (its derivative is Var(z)/T³ under the softened distribution), so the root
    is unique and found by bisection. Where there is none, T is a bound: ``maximum`` for a one-hot teacher, whose
    entropy stays near 0; ``minimum`` for a uniform one, whose entropy is ln C at any T, and for a single class.

    The search reads the whole teacher some thirty times. It is done once per teacher: the result is kept for as long
    as the same tensor object comes, which is then also kept alive, and which nobody may change in place.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    minimum: Temperature = 1.0
    maximum: Temperature = 20.0
    _last: tuple[Tensor, Temperatures] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share must lie in (0, 1), got {self.share}; it is the part of the largest entropy, ln C")
        check_temperature("minimum", self.minimum)
        check_temperature("maximum", self.maximum)
        if self.minimum > self.maximum:
            raise ValueError(f"minimum must not exceed maximum, got {self.minimum} and {self.maximum}; swap them")

    def at(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> Temperatures:
        if self._last is None or self._last[0] is not teacher:
            self._last = (teacher, self._solve(teacher))
        return self._last[1]

    @abstractmethod
    def root(self, logits: Float[Tensor, "samples classes"], target: float) -> Temperatures:
        """T within the bounds at which the entropy, in nats, is ``target``; ``logits`` in float64, the largest 0."""

    def _solve(self, teacher: Tensor) -> Temperatures:
        if teacher.ndim != 2 or 0 in teacher.shape:
            raise ValueError(f"teacher must be [samples, classes], none of them 0; got {tuple(teacher.shape)}")
        if not bool(torch.isfinite(teacher).all()):
            raise ValueError("teacher must be finite log-probabilities; Teacher.from_probabilities floors zeros")
        logits = teacher.detach().double()
        # A shift changes no softmax, and keeps the best class finite at the smallest temperatures.
        logits = logits - logits.amax(dim=-1, keepdim=True)
        return self.root(logits, self.share * math.log(teacher.shape[1]))


def entropies(
    logits: Float[Tensor, "samples classes"], temperature: float | Float[Tensor, "samples 1"]
) -> Float[Tensor, " samples"]:
    """The entropy of softmax(logits/T) in nats, by sample."""
    each: Tensor = torch.special.entr((logits / temperature).softmax(dim=-1))
    return each.sum(dim=-1)
