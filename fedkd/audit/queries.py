"""What a malicious server puts among the public samples."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

CRAFTED = 256
"""Crafted queries, half of them noise and half blends."""


def views_of(
    images: Float[Tensor, "samples channels height width"], count: int
) -> Float[Tensor, "views samples channels height width"]:
    """The first ``count`` of: the images, mirrored, and shifted by one pixel left, right, up and down."""
    shifts = ((-1, 3), (1, 3), (-1, 2), (1, 2))
    views = [images, images.flip(3), *(torch.roll(images, step, dims=axis) for step, axis in shifts)]
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
    picks = torch.randint(len(public), (half, 8), generator=generator)
    return torch.cat([noise, public[picks].mean(dim=1)])
