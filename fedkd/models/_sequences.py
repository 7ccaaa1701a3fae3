"""What networks for sequences have in common: vectors of their steps, and which steps are padding."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn


class Steps(nn.Module):
    """The steps of series [batch, channels, time], or of tokens [batch, time] below ``vocabulary``, as vectors.

    Token 0 is padding, and so is a step of a series whose channels are all exactly 0.
    """

    def __init__(self, shape: tuple[int, ...], vocabulary: int | None, width: int) -> None:
        super().__init__()
        self.vectors: nn.Module = nn.Linear(shape[0], width) if vocabulary is None else nn.Embedding(vocabulary, width)
        self._tokens = vocabulary is not None

    def forward(
        self, inputs: Shaped[Tensor, "batch ..."]
    ) -> tuple[Float[Tensor, "batch time width"], Bool[Tensor, "batch time"]]:
        """The vectors, and which steps are no padding."""
        if self._tokens:
            return self.vectors(inputs), inputs != 0
        return self.vectors(inputs.transpose(1, 2)), (inputs != 0).any(dim=1)


def masked_mean(
    steps: Float[Tensor, "batch time width"], kept: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch width"]:
    """The mean over the steps that are no padding; 0 where all are."""
    weights = kept.unsqueeze(-1).to(steps.dtype)
    return (steps * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)


def masked_softmax(scores: Float[Tensor, "... time"], kept: Bool[Tensor, "... time"]) -> Float[Tensor, "... time"]:
    """Weights over the steps that are no padding, which sum to 1; all alike where all are."""
    # Finite, so that a sample of padding alone has no NaN.
    return scores.masked_fill(~kept, torch.finfo(scores.dtype).min).softmax(dim=-1)


def sines(steps: int, width: int) -> Float[Tensor, "time width"]:
    """Sines and cosines of wavelengths from 2π to 10,000·2π."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(steps).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]


def dropout_layer(share: float) -> nn.Module:
    """Dropout, or nothing where the share is 0: clients whose models draw no random numbers can train as one stack."""
    return nn.Dropout(share) if share > 0 else nn.Identity()


class Recurrent(nn.Module):
    """One layer of gated units, written out: torch computes no gradients of its own sample by sample."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.given, self.remembered = nn.Linear(width, 3 * width), nn.Linear(width, 3 * width)

    def forward(
        self, steps: Float[Tensor, "batch time width"], kept: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time width"]:
        """The state after every step."""
        state, states = torch.zeros_like(steps[:, 0]), []
        for given, counts in zip(self.given(steps).unbind(1), kept.unbind(1), strict=True):
            state = torch.where(counts.unsqueeze(1), self.after(given, state), state)
            states.append(state)
        return torch.stack(states, dim=1)

    def after(
        self, given: Float[Tensor, "batch three_widths"], state: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch width"]:
        """The state after a step, of which ``given`` is what the layer of that name makes."""
        reset, update, new = given.chunk(3, dim=1)
        old_reset, old_update, old = self.remembered(state).chunk(3, dim=1)
        share = torch.sigmoid(update + old_update)
        proposed = torch.tanh(new + torch.sigmoid(reset + old_reset) * old)
        return (1 - share) * proposed + share * state
