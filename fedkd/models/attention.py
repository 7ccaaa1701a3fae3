"""A network for sequences that looks at them again and again, each time elsewhere."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from fedkd.models import Architecture
from fedkd.models._sequences import Recurrent, Steps, dropout_layer, masked_mean, masked_softmax


@dataclass(frozen=True)
class Attention(Architecture):
    """Additive attention over a bidirectional recurrent encoder (Bahdanau et al. 2015, arXiv:1409.0473).

    Its ``queries`` follow one another: state s_i = GRU(q_i + c_{i−1}, s_{i−1}), energies e_ij = vᵀ tanh(W s_i + U h_j)
    of the steps' annotations h_j (both directions' states added up), weights α_i = softmax(e_i), context
    c_i = Σ_j α_ij h_j (section 3.1). A learned vector q_i stands for the word that a translation would have put out
    before; c_0 is the mean of the steps. The head gets the mean context. The modules ``weights`` and ``context`` put
    out [batch, queries, time] and [batch, queries, width]. ``dropout`` is that of every layer's inputs.
    """

    takes = "sequences"
    width: Annotated[int, Field(ge=1, le=4096)] = 64
    depth: Annotated[int, Field(ge=1, le=16)] = 1
    queries: Annotated[int, Field(ge=1, le=64)] = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    def build(self, shape: tuple[int, ...], classes: int, vocabulary: int | None = None) -> nn.Module:
        return _Attending(self, shape, classes, vocabulary)


class _Attending(nn.Module):
    def __init__(self, options: Attention, shape: tuple[int, ...], classes: int, vocabulary: int | None) -> None:
        super().__init__()
        width = options.width
        self.steps = Steps(shape, vocabulary, width)
        self.layers = nn.ModuleList(_BothWays(width) for _ in range(options.depth))
        self.dropout = dropout_layer(options.dropout)
        self.questions = nn.Parameter(torch.randn(options.queries, width))
        self.decoder = Recurrent(width)
        self.asked, self.offered = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.energy = nn.Linear(width, 1, bias=False)
        self.weights, self.context = nn.Identity(), nn.Identity()
        self.head = nn.Linear(width, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        steps, kept = self.steps(inputs)
        for layer in self.layers:
            steps = layer(self.dropout(steps), kept)
        offered, context = self.offered(steps), masked_mean(steps, kept)
        state, weights, contexts = torch.zeros_like(context), [], []
        for question in self.questions:
            state = self.decoder.after(self.decoder.given(question + context), state)
            energies = self.energy(torch.tanh(self.asked(state).unsqueeze(1) + offered)).squeeze(2)
            weights.append(masked_softmax(energies, kept))
            context = (weights[-1].unsqueeze(1) @ steps).squeeze(1)
            contexts.append(context)
        self.weights(torch.stack(weights, dim=1))
        logits: Tensor = self.head(self.context(torch.stack(contexts, dim=1)).mean(dim=1))
        return logits


class _BothWays(nn.Module):
    """What two layers of units, one from either end, remember at every step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.onwards, self.back = Recurrent(width), Recurrent(width)

    def forward(
        self, steps: Float[Tensor, "batch time width"], kept: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time width"]:
        states: Tensor = self.onwards(steps, kept) + self.back(steps.flip(1), kept.flip(1)).flip(1)
        return states
