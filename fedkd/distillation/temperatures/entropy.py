"""A temperature that makes every round's teacher equally soft."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.temperatures._softness import HALVINGS, Softness, entropies


@dataclass(kw_only=True)
class Entropy(Softness):
    """The T of a round, for all samples, at which the teacher's mean entropy is ``share`` of ln C."""

    def root(self, logits: Float[Tensor, "samples classes"], target: float) -> float:
        if _mean_entropy(logits, self.minimum) >= target:
            return self.minimum
        if _mean_entropy(logits, self.maximum) <= target:
            return self.maximum
        low, high = math.log(self.minimum), math.log(self.maximum)
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            if _mean_entropy(logits, math.exp(middle)) < target:
                low = middle
            else:
                high = middle
        return min(max(math.exp((low + high) / 2.0), self.minimum), self.maximum)


def _mean_entropy(logits: Float[Tensor, "samples classes"], temperature: float) -> float:
    return float(entropies(logits, temperature).mean())
