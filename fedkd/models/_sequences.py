"""What networks for sequences have in common: vectors of their steps, and which steps are padding."""

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


def dropout_layer(share: float) -> nn.Module:
    """Dropout, or nothing where the share is 0: clients whose models draw no random numbers can train as one stack."""
    return nn.Dropout(share) if share > 0 else nn.Identity()
