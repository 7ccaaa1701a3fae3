"""A temperature of its own for every sample, which makes the teacher equally soft on all of them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.distillation.temperatures._softness import HALVINGS, Softness, entropies


@dataclass(kw_only=True)
class PerSample(Softness):
    """The T of each sample at which the entropy of the teacher's distribution there is ``share`` of ln C.

    One T for all leaves a sure teacher's answer nearly one-hot and an unsure one's nearly uniform; here each tells as
    much about the other classes. L_dist weighs every sample by its own T². For two classes with log-odds z it is
    T = z/ln(p/(1−p)), with p ≥ ½ that for which the entropy of (p, 1−p) is what was asked for.
    """

    def root(self, logits: Float[Tensor, "samples classes"], target: float) -> Float[Tensor, " samples"]:
        low = torch.full((len(logits), 1), math.log(self.minimum), dtype=logits.dtype, device=logits.device)
        high = torch.full_like(low, math.log(self.maximum))
        for _ in range(HALVINGS):
            middle = (low + high) / 2.0
            short = entropies(logits, middle.exp()).unsqueeze(1) < target
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        found = ((low + high) / 2.0).exp().squeeze(1)
        # At a bound the search only comes close to it.
        found = torch.where(entropies(logits, self.minimum) >= target, self.minimum, found)
        return torch.where(entropies(logits, self.maximum) <= target, self.maximum, found)
