"""Normalisation layers that suit clients with few and skewed samples."""

from typing import Literal

from torch import nn

Norm = Literal["group", "batch"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Group or batch normalisation of ``channels``.

    Group normalisation (Wu and He 2018, arXiv:1803.08494) has no batch statistics, which skewed clients would disagree
    about and which a mean of models would mix up (Hsieh et al. 2020, arXiv:1910.00189). It takes the most groups of
    8, 4 and 2 that divide the channels and leave four or more in each, else one.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    groups = next((count for count in (8, 4, 2) if channels % count == 0 and channels // count >= 4), 1)
    return nn.GroupNorm(groups, channels)


def replace_batch_norm(model: nn.Module, norm: Norm) -> nn.Module:
    """``model`` with every ``BatchNorm2d`` exchanged, in place, for the chosen normalisation."""
    if norm == "batch":
        return model
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, norm_layer(norm, child.num_features))
    return model
