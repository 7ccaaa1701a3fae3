"""What samples look like to a model, in memory or not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from fedkd.core.compute import to_device

CPU = torch.device("cpu")

PADDING = 0
"""The token that fills a sequence up."""


@dataclass(frozen=True)
class SampleSpec:
    """One sample: float32 numbers of ``shape``, or int64 tokens of it, each below ``vocabulary``.

    Images are [channels, height, width], rows of a table [features], series [channels, time], texts [tokens]. Token 0
    fills texts up; so do, in a series, steps that are 0 in all channels.
    """

    shape: tuple[int, ...]
    vocabulary: int | None = None

    @property
    def is_image(self) -> bool:
        """Whether it has channels, rows and columns of pixels."""
        return self.vocabulary is None and len(self.shape) == 3

    def made_up(self, count: int, like: Tensor | None = None) -> Tensor:
        """``count`` random samples, always the same: numbers from 0 to 1, or tokens other than the padding.

        Where ``like`` is, and numbers of its type.
        """
        draw = torch.Generator().manual_seed(0)
        like = torch.empty(0) if like is None else like
        if self.vocabulary is None:
            return torch.rand(count, *self.shape, generator=draw).to(like)
        return torch.randint(PADDING + 1, self.vocabulary, (count, *self.shape), generator=draw).to(like.device)

    def __str__(self) -> str:
        kind = "numbers" if self.vocabulary is None else f"tokens below {self.vocabulary}"
        return f"{list(self.shape)} {kind}"


@runtime_checkable
class RawSamples(Protocol):
    """Samples as their source has them: rows of a table, texts, a file of numbers."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Tensor | slice) -> Any:
        """The samples at positions (int64 ``[chosen]``), or of a slice."""


@dataclass(frozen=True)
class LazySamples:
    """Samples that are read and made into tensors when they are asked for, and not kept.

    ``make`` does so for some of ``raw``, of which ``rows`` are meant; tensors come on ``device``.
    """

    raw: RawSamples
    rows: Int[Tensor, " samples"]
    make: Callable[[Any], Tensor]
    device: torch.device = CPU

    def __len__(self) -> int:
        return self.rows.numel()

    def __getitem__(self, positions: Tensor | slice) -> Tensor:
        return to_device(self.make(self.raw[self.rows[positions]]), self.device)

    def split(self, size: int) -> Iterator[Tensor]:
        """All of them in order, ``size`` at a time."""
        for rows in self.rows.split(size):
            yield to_device(self.make(self.raw[rows]), self.device)

    def to(self, device: torch.device) -> "LazySamples":
        """The same, with tensors on ``device``."""
        return replace(self, device=device)


Inputs = Shaped[Tensor, "..."] | LazySamples
"""Samples of one kind: a tensor, or what makes one of those that are asked for."""


def unlike(inputs: Tensor) -> Tensor:
    """Other samples in place of each: numbers turned round and stretched, tokens exchanged for others of the batch."""
    if inputs.is_floating_point():
        return 1.0 - 2.0 * inputs
    least, most = inputs.aminmax()
    # Where all tokens are the same one, padding is another.
    return torch.where(inputs == least, most if bool(most > least) else torch.full_like(least, PADDING), least)
