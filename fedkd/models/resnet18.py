"""ResNet-18 for small images."""

from dataclasses import dataclass

import torchvision
from torch import nn

from fedkd.models import ImageArchitecture
from fedkd.models._norm import Norm, replace_batch_norm


@dataclass(frozen=True)
class ResNet18(ImageArchitecture):
    """torchvision's ResNet-18 (He et al. 2016, arXiv:1512.03385), not pretrained.

    As usual for small images, the stem is a 3×3 convolution of stride 1 without max pooling. ``norm`` is group or batch
    normalisation.
    """

    norm: Norm = "group"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        model = torchvision.models.resnet18(weights=None, num_classes=classes)
        model.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
        return replace_batch_norm(model, self.norm)
