"""A small transformer encoder for texts and time series."""

import math
from dataclasses import dataclass
from typing import Annotated

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fedkd.models import Architecture
from fedkd.models._sequences import Steps, dropout_layer, masked_mean, masked_softmax, sines

Width = Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True)
class Transformer(Architecture):
    """An encoder (Vaswani et al. 2017, arXiv:1706.03762) for tokens and series.

    Positions are learned, and begin as the paper's sines (section 3.5). Layers normalise first (Xiong et al. 2020,
    arXiv:2002.04745); the head gets the mean of all steps but padding. ``width`` must be a multiple of ``heads``;
    ``dropout`` is that of every layer's two parts.
    """

    takes = "sequences"
    width: Width = 64
    depth: Annotated[int, Field(ge=1, le=64)] = 2
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    feed_forward: Width = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width: must be a multiple of heads, got {self.width} for {self.heads} heads; change one")

    def build(self, shape: tuple[int, ...], classes: int, vocabulary: int | None = None) -> nn.Module:
        return _Encoder(self, shape, classes, vocabulary)


class _Encoder(nn.Module):
    def __init__(self, options: Transformer, shape: tuple[int, ...], classes: int, vocabulary: int | None) -> None:
        super().__init__()
        self.steps = Steps(shape, vocabulary, options.width)
        self.positions = nn.Parameter(sines(shape[-1], options.width))
        self.layers = nn.ModuleList(_Layer(options) for _ in range(options.depth))
        self.norm = nn.LayerNorm(options.width)
        self.head = nn.Linear(options.width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        steps, kept = self.steps(inputs)
        steps = steps + self.positions
        for layer in self.layers:
            steps = layer(steps, kept)
        logits: Tensor = self.head(masked_mean(self.norm(steps), kept))
        return logits


class _Layer(nn.Module):
    """Self-attention and two linear layers, written out: torch's own attention computes otherwise in evaluation."""

    def __init__(self, options: Transformer) -> None:
        super().__init__()
        self.before_attention, self.before_forward = nn.LayerNorm(options.width), nn.LayerNorm(options.width)
        self.asked = nn.Linear(options.width, 3 * options.width)
        self.found = nn.Linear(options.width, options.width)
        self.up = nn.Linear(options.width, options.feed_forward)
        self.down = nn.Linear(options.feed_forward, options.width)
        # A module, so that its output, the attention of every step to every other, can be looked at.
        self.attention = nn.Identity()
        self.dropout, self._heads = dropout_layer(options.dropout), options.heads

    def forward(
        self, steps: Float[Tensor, "batch time width"], kept: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time width"]:
        steps = steps + self.dropout(self.found(self._attended(self.before_attention(steps), kept)))
        inside = nn.functional.gelu(self.up(self.before_forward(steps)))
        output: Tensor = steps + self.dropout(self.down(inside))
        return output

    def _attended(self, steps: Tensor, kept: Tensor) -> Tensor:
        split = self.asked(steps).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind()
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        attention = self.attention(masked_softmax(scores, kept[:, None, None, :]))
        attended: Tensor = (attention @ value).transpose(1, 2).flatten(2)
        return attended
