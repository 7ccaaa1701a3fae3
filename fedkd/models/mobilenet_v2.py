"""MobileNetV2 for small images."""

from dataclasses import dataclass

import torchvision
from torch import nn

from fedkd.models import ImageArchitecture
from fedkd.models._norm import Norm, replace_batch_norm

# Expansion, channels, blocks and first stride of each stage; the second stage's stride is 1 instead of 2.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


@dataclass(frozen=True)
class MobileNetV2(ImageArchitecture):
    """torchvision's MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), not pretrained.

    For small images, the stem and the second stage have stride 1, so that the last feature map is an eighth of the
    image. ``norm`` is group or batch normalisation.
    """

    norm: Norm = "group"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        model = torchvision.models.mobilenet_v2(
            weights=None, num_classes=classes, inverted_residual_setting=[list(stage) for stage in _STAGES]
        )
        model.features[0][0] = nn.Conv2d(shape[0], 32, 3, padding=1, bias=False)
        return replace_batch_norm(model, self.norm)
