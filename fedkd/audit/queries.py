"""What a malicious server puts among the public samples."""

import torch
from jaxtyping import Float
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


def crafted_queries(
    public: Float[Tensor, "samples channels height width"], generator: torch.Generator
) -> Float[Tensor, "crafted channels height width"]:
    """Images that show nothing in particular: standard normal noise, and means of eight public images each."""
    half = CRAFTED // 2
    noise = torch.randn(half, *public.shape[1:], generator=generator)
    picks = torch.randint(len(public), (half, 8), generator=generator)
    return torch.cat([noise, public[picks].mean(dim=1)])
