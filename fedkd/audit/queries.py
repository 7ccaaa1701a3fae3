"""What a malicious server puts among the public samples."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

CRAFTED = 256
"""Crafted queries, half of them noise and half blends."""


def views_of(samples: Shaped[Tensor, "samples ..."], count: int) -> Shaped[Tensor, "views samples ..."]:
    """The first ``count`` of: the samples and, of images, mirrored, and shifted by a pixel left, right, up and down."""
    if count == 1:
        return samples.unsqueeze(0)
    shifts = ((-1, 3), (1, 3), (-1, 2), (1, 2))
    views = [samples, samples.flip(3), *(torch.roll(samples, step, dims=axis) for step, axis in shifts)]
    return torch.stack(views[:count])


def crafted_queries(public: Shaped[Tensor, "samples ..."], generator: torch.Generator) -> Shaped[Tensor, "crafted ..."]:
    """Samples that show nothing in particular: standard normal noise, and means of eight public samples each.

    Tokens are drawn anew at every place, from those of all public samples there.
    """
    half = CRAFTED // 2
    if public.dtype == torch.int64:
        rows = torch.randint(len(public), (CRAFTED, *public.shape[1:]), generator=generator)
        return public.gather(0, rows)
    noise = torch.randn(half, *public.shape[1:], generator=generator)
    return torch.cat([noise, blends_of(public, half, generator)])


def blends_of(
    public: Float[Tensor, "samples ..."], count: int, generator: torch.Generator
) -> Float[Tensor, "blends ..."]:
    """Means of eight public samples each."""
    picks = torch.randint(len(public), (count, 8), generator=generator)
    return public[picks].mean(dim=1)
