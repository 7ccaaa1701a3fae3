"""ShuffleNet V2 for small images."""

from dataclasses import dataclass

import torchvision
from torch import nn

from fedkd.models import ImageArchitecture
from fedkd.models._norm import Norm, replace_batch_norm


@dataclass(frozen=True)
class ShuffleNet(ImageArchitecture):
    """torchvision's ShuffleNet V2 of half width (Ma et al. 2018, arXiv:1807.11164), not pretrained.

    For small images, the stem has stride 1 and no max pooling. ``norm`` is group or batch normalisation.
    """

    norm: Norm = "group"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        model = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=classes)
        model.conv1[0] = nn.Conv2d(shape[0], 24, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
        return replace_batch_norm(model, self.norm)
