"""A running mean of a student's weights, which is steadier than the last of them."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class WeightAverage:
    """An exponential moving average θ̄ ← share·θ̄ + (1−share)·θ over the steps of a round, beginning with its first.

    Polyak & Juditsky 1992; as a teacher of itself, Tarvainen & Valpola 2017 (arXiv 1703.01780). Buffers, such as batch
    statistics, are the last ones. A share of 0 keeps no average.
    """

    def __init__(self, student: nn.Module, share: float) -> None:
        self._student = student
        self._model = AveragedModel(student, multi_avg_fn=get_ema_multi_avg_fn(share)) if share > 0 else None

    def update(self) -> None:
        """Take in the student after a step."""
        if self._model is not None:
            self._model.update_parameters(self._student)

    @torch.no_grad()
    def settle(self) -> None:
        """Let the student become its average."""
        if self._model is not None:
            for own, mean in zip(self._student.parameters(), self._model.module.parameters(), strict=True):
                own.copy_(mean)
