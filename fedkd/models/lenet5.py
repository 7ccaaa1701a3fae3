"""LeNet-5."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from fedkd.models import ImageArchitecture


@dataclass(frozen=True)
class LeNet5(ImageArchitecture):
    """LeNet-5 (LeCun et al. 1998) as it is built today: ReLU and max pooling; 61,706 parameters at 1×28×28.

    Images of less than 14 pixels a side, too small for two unpadded 5×5 convolutions, are padded before the second.
    """

    smallest_side: ClassVar[int] = 4

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        channels, height, width = shape
        padding = 2 if min(height, width) < 14 else 0
        # The first convolution keeps the size, the second loses 4 pixels less its padding; each pooling halves it.
        rows, columns = ((side // 2 - 4 + 2 * padding) // 2 for side in (height, width))
        return nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * rows * columns, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, classes),
        )
