"""A running mean of a student's weights, which is steadier than the last of them."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average θ̄ ← share·θ̄ + (1−share)·θ over the steps of a round, beginning with its first.

    Polyak & Juditsky 1992; as a teacher of itself, Tarvainen & Valpola 2017 (arXiv 1703.01780). Buffers, such as batch
    statistics, are the last ones. A share of 0 keeps no average.
    """

    def __init__(self, student: nn.Module, share: float) -> None:
        self._share = share
        self._own: list[Tensor] = [each for each in student.parameters() if each.requires_grad] if share > 0 else []
        self._mean: list[Tensor] = []

    @torch.no_grad()
    def update(self) -> None:
        """Take in the student after a step."""
        if self._mean:
            torch._foreach_lerp_(self._mean, self._own, 1 - self._share)
        else:
            self._mean = [parameter.clone() for parameter in self._own]

    @torch.no_grad()
    def settle(self) -> None:
        """Let the student become its average."""
        if self._mean:
            torch._foreach_copy_(self._own, self._mean)
