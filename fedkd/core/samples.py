"""What a sample looks like to a model."""

from dataclasses import dataclass

import torch
from torch import Tensor

_PADDING = 0
"""The token that fills a sequence up."""


@dataclass(frozen=True)
class SampleSpec:
    """One sample: float32 numbers of ``shape``, or int64 tokens of it, each below ``vocabulary``.

    Images are [channels, height, width], rows of a table [features], series [channels, time], texts [tokens]; token 0
    fills texts up.
    """

    shape: tuple[int, ...]
    vocabulary: int | None = None

    def made_up(self, count: int, like: Tensor | None = None) -> Tensor:
        """``count`` random samples, always the same: numbers from 0 to 1, or tokens other than the padding.

        Where ``like`` is, and numbers of its type.
        """
        draw = torch.Generator().manual_seed(0)
        like = torch.empty(0) if like is None else like
        if self.vocabulary is None:
            return torch.rand(count, *self.shape, generator=draw).to(like)
        return torch.randint(_PADDING + 1, self.vocabulary, (count, *self.shape), generator=draw).to(like.device)

    def __str__(self) -> str:
        kind = "numbers" if self.vocabulary is None else f"tokens below {self.vocabulary}"
        return f"{list(self.shape)} {kind}"
