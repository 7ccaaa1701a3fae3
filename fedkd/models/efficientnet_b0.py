"""EfficientNet-B0 for small images."""

from dataclasses import dataclass

import torchvision
from torch import nn

from fedkd.models import ImageArchitecture
from fedkd.models._norm import Norm, replace_batch_norm


@dataclass(frozen=True)
class EfficientNetB0(ImageArchitecture):
    """torchvision's EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946), not pretrained.

    For small images, the stem has stride 1. ``norm`` is group or batch normalisation.
    """

    norm: Norm = "group"

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        model = torchvision.models.efficientnet_b0(weights=None, num_classes=classes)
        model.features[0][0] = nn.Conv2d(shape[0], 32, 3, padding=1, bias=False)
        return replace_batch_norm(model, self.norm)
