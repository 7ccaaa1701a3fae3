"""Softer probabilities; not private."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fedkd.privacy.mechanism import LogitMechanism


@dataclass(frozen=True)
class Temperature(LogitMechanism):
    """Releases logits divided by ``value`` > 0.

    Proves nothing, and hides nothing from whoever knows the value: multiplying undoes it. It changes what the teacher
    hears, and how much a coarse codec after it leaves.
    """

    value: float = 4.0

    def __post_init__(self) -> None:
        if not (self.value > 0 and math.isfinite(self.value)):
            raise ValueError(f"value must be finite and greater than 0, got {self.value}; above 1 softens")

    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
    ) -> Float[Tensor, "samples classes"]:
        return logits / self.value
