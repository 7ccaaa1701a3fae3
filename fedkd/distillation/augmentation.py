"""Small changes to images that leave their class alone."""

from collections.abc import Collection
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedkd.core.compute import to_device

Change = Literal["flip", "shift"]

SHIFT = 2
"""The most pixels by which ``shift`` moves an image in each direction."""


def augment(
    images: Float[Tensor, "batch channels height width"], changes: Collection[Change], generator: torch.Generator
) -> Float[Tensor, "batch channels height width"]:
    """A copy of the images, each changed in its own way.

    ``flip`` mirrors an image left to right with probability ½; ``shift`` moves it by up to 2 pixels in each direction,
    evenly distributed, and fills the margin with the smallest value of the batch, which is the background of most data.
    """
    count, _, height, width = images.shape
    if "flip" in changes:
        mirrored = to_device(torch.rand(count, generator=generator) < 0.5, images.device)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    if "shift" in changes:
        padded = nn.functional.pad(images, (SHIFT,) * 4, value=float(images.min()))
        moves = to_device(torch.randint(2 * SHIFT + 1, (2, count, 1), generator=generator), images.device)
        rows = moves[0] + torch.arange(height, device=images.device)
        columns = moves[1] + torch.arange(width, device=images.device)
        samples = torch.arange(count, device=images.device)[:, None, None]
        moved = padded.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None, :]]
        images = moved.permute(0, 3, 1, 2)
    return images
