"""A network for sequences that always looks at the same steps."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fedkd.models import Architecture
from fedkd.models._sequences import Steps, dropout_layer, masked_softmax, sines


@dataclass(frozen=True)
class FixedContext(Architecture):
    """One context, the mean of the steps' vectors by a learned pattern of weights, which is the same for all samples.

    What ``attention`` is distilled into: softmax of one score a position, over the steps that are no padding, in place
    of its queries, and convolutions of ``reach`` steps with residual connections in place of recurrent layers, so that
    no step waits for another. Positions are learned and begin as sines. The modules ``weights`` and ``context`` put out
    [batch, time] and [batch, width]. ``dropout`` is that of every layer's inputs.
    """

    takes = "sequences"
    width: Annotated[int, Field(ge=1, le=4096)] = 64
    depth: Annotated[int, Field(ge=1, le=16)] = 1
    reach: Literal[1, 3, 5, 7, 9] = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build(self, shape: tuple[int, ...], classes: int, vocabulary: int | None = None) -> nn.Module:
        return _Looking(self, shape, classes, vocabulary)


class _Looking(nn.Module):
    def __init__(self, options: FixedContext, shape: tuple[int, ...], classes: int, vocabulary: int | None) -> None:
        super().__init__()
        width = options.width
        self.steps = Steps(shape, vocabulary, width)
        self.positions = nn.Parameter(sines(shape[-1], width))
        self.layers = nn.ModuleList(_Layer(width, options.reach) for _ in range(options.depth))
        self.dropout = dropout_layer(options.dropout)
        self.weights, self.context = _Pattern(shape[-1]), nn.Identity()
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        steps, kept = self.steps(inputs)
        steps = steps + self.positions
        for layer in self.layers:
            steps = layer(self.dropout(steps), kept)
        context = (self.weights(kept).unsqueeze(1) @ steps).squeeze(1)
        logits: Tensor = self.head(self.context(context))
        return logits


class _Layer(nn.Module):
    """A convolution over time, added to what it is given."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.seen = nn.Conv1d(width, width, reach, padding=reach // 2)

    def forward(
        self, steps: Float[Tensor, "batch time width"], kept: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time width"]:
        # Padding is as what lies beyond the ends.
        there = steps.masked_fill(~kept.unsqueeze(2), 0.0).transpose(1, 2)
        return steps + nn.functional.gelu(self.seen(there).transpose(1, 2))


class _Pattern(nn.Module):
    """Learned weights of the positions, at first all alike."""

    def __init__(self, time: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(time))

    def forward(self, kept: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        return masked_softmax(self.scores.expand(kept.shape), kept)
