"""Small changes to images that leave their class alone, and the batches that are changed so."""

from collections.abc import Callable, Collection
from typing import Literal

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from fedkd.core.compute import to_device

Change = Literal["flip", "shift"]

NO_SAMPLES = torch.empty(0, dtype=torch.long)
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


def changer(changes: Collection[Change], generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """What makes these changes to every batch; without any it takes inputs of every kind, and leaves them alone."""
    return (lambda inputs: augment(inputs, changes, generator)) if changes else (lambda inputs: inputs)


class PublicBatch:
    """The public samples of one step, and its labelled ones: where they are, and their inputs, changed or not."""

    def __init__(
        self,
        chosen: Int[Tensor, " chosen"],
        labelled: Int[Tensor, " labelled"],
        inputs: Shaped[Tensor, "samples ..."],
        change: Callable[[Tensor], Tensor],
    ) -> None:
        self.chosen, self.labelled = chosen, labelled
        self.inputs = change(inputs[chosen])
        self.labelled_inputs = change(inputs[labelled]) if labelled.numel() > 0 else inputs[labelled]
