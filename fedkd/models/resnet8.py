"""ResNet-8, the smallest of the residual networks for small images."""

from dataclasses import dataclass

from torch import Tensor, nn

from fedkd.models import ImageArchitecture
from fedkd.models._norm import Norm, norm_layer


@dataclass(frozen=True)
class ResNet8(ImageArchitecture):
    """One residual block at each of 16, 32 and 64 channels (He et al. 2016, arXiv:1512.03385, section 4.2, n = 1).

    ``norm`` is group or batch normalisation; where the size changes, the shortcut is a 1×1 convolution.
    """

    norm: Norm = "group"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(shape[0], 16, 3, padding=1, bias=False),
            norm_layer(self.norm, 16),
            nn.ReLU(),
            _Block(16, 16, 1, self.norm),
            _Block(16, 32, 2, self.norm),
            _Block(32, 64, 2, self.norm),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, classes),
        )


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            norm_layer(norm, after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            norm_layer(norm, after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), norm_layer(norm, after))
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.relu(self.residual(images) + self.shortcut(images))
        return output
