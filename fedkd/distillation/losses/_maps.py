"""Maps of one size."""

from torch import Tensor, nn


def to_smaller(own: Tensor, its: Tensor) -> tuple[Tensor, Tensor]:
    """Both, with maps [samples, channels, height, width] averaged to the smaller height and the smaller width."""
    if own.shape[2:] == its.shape[2:] or own.ndim != 4:
        return own, its
    side = (min(own.shape[2], its.shape[2]), min(own.shape[3], its.shape[3]))
    return nn.functional.adaptive_avg_pool2d(own, side), nn.functional.adaptive_avg_pool2d(its, side)
