"""Public images that are not like the private ones."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from fedkd.config.data_schema import CorruptionConfig

_CHUNK = 1024


def corrupted(
    images: UInt8[Tensor, "samples channels height width"], how: CorruptionConfig, generator: torch.Generator
) -> UInt8[Tensor, "samples channels height width"]:
    """Images turned, inverted and noisy, in this order, in pixels from 0 to 255 again."""
    result = torch.empty_like(images)
    # In chunks, so that the float copies stay small.
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].float()
        if how.rotate:
            chunk = _turned(chunk, how.rotate)
        if how.invert:
            chunk = 255 - chunk
        if how.noise:
            chunk = chunk + 255 * how.noise * torch.randn(chunk.shape, generator=generator)
        result[start : start + _CHUNK] = chunk.round().clamp(0, 255).to(torch.uint8)
    return result


def _turned(
    images: Float[Tensor, "samples channels height width"], degrees: float
) -> Float[Tensor, "samples channels height width"]:
    """Images turned to the left about their middle, bilinearly; what comes from outside is black."""
    height, width = images.shape[2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # From a place in the result to one in the image, both from -1 to 1 along each side.
    back = torch.tensor([[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]])
    grid = functional.affine_grid(back.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
