"""A recurrent network for texts and time series."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from fedkd.models import Architecture
from fedkd.models._sequences import Recurrent, Steps, dropout_layer


@dataclass(frozen=True)
class Gru(Architecture):
    """Gated recurrent units (Cho et al. 2014, arXiv:1406.1078), whose last state decides, for tokens and series.

    ``width`` is that of the steps' vectors and of the state; padding leaves the state as it is. ``dropout`` is that of
    every layer's inputs.
    """

    takes = "sequences"
    width: Annotated[int, Field(ge=1, le=4096)] = 64
    depth: Annotated[int, Field(ge=1, le=16)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build(self, shape: tuple[int, ...], classes: int, vocabulary: int | None = None) -> nn.Module:
        return _Recurrent(self, shape, classes, vocabulary)


class _Recurrent(nn.Module):
    def __init__(self, options: Gru, shape: tuple[int, ...], classes: int, vocabulary: int | None) -> None:
        super().__init__()
        self.steps = Steps(shape, vocabulary, options.width)
        self.layers = nn.ModuleList(Recurrent(options.width) for _ in range(options.depth))
        self.dropout = dropout_layer(options.dropout)
        self.head = nn.Linear(options.width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        steps, kept = self.steps(inputs)
        for layer in self.layers:
            steps = layer(self.dropout(steps), kept)
        logits: Tensor = self.head(steps[:, -1])
        return logits
