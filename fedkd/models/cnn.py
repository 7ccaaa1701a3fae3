"""A small convolutional network."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from fedkd.models import ImageArchitecture

_Width = Annotated[int, Field(ge=1, le=4096)]


@dataclass(frozen=True)
class Cnn(ImageArchitecture):
    """Two 3×3 convolutions of so many ``channels``, each with ReLU and max pooling, and a layer of ``hidden`` units.

    Without normalisation; as it is, 105,866 parameters for 1×28×28 images and 10 classes.
    """

    smallest_side: ClassVar[int] = 4
    channels: tuple[_Width, _Width] = (16, 32)
    hidden: _Width = 64

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        (channels, height, width), (first, second) = shape, self.channels
        return nn.Sequential(
            # Pooling first gives the same function, and a quarter of the activations to rectify.
            nn.Conv2d(channels, first, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(second * (height // 4) * (width // 4), self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, classes),
        )
