"""From 8-bit pixels to the tensors that models see."""

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional

_LUMA = (0.299, 0.587, 0.114)
_CHUNK = 1024


def channel_statistics(
    images: UInt8[Tensor, "samples channels height width"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel in pixel units (0 to 255); a constant channel counts as deviation 1.

    The sums are over integers and so exact: every process gets the same bits, whatever its number of threads.
    """
    channels = images.shape[1]
    values = torch.arange(256)
    means, deviations = [], []
    for channel in range(channels):
        counts = torch.bincount(images[:, channel].flatten(), minlength=256)
        total = int(counts.sum())
        first, second = int((counts * values).sum()), int((counts * values * values).sum())
        means.append(first / total)
        deviations.append(((total * second - first * first) ** 0.5 / total) or 1.0)
    return tuple(means), tuple(deviations)


def standardise(
    images: UInt8[Tensor, "samples channels height width"], means: tuple[float, ...], deviations: tuple[float, ...]
) -> Float32[Tensor, "samples channels height width"]:
    """(pixel − mean) / deviation per channel, as contiguous float32; only the result is allocated."""
    result = images.to(torch.float32, memory_format=torch.contiguous_format)
    shape = (1, -1, 1, 1)
    return result.sub_(torch.tensor(means).view(shape)).div_(torch.tensor(deviations).view(shape))


def fit_to_shape(
    images: UInt8[Tensor, "samples channels height width"], shape: tuple[int, int, int]
) -> UInt8[Tensor, "samples to_channels to_height to_width"]:
    """Images of another data set in the task's shape (channels, height, width).

    Colour becomes luma (ITU-R BT.601; the mean where there are not three channels), grey is repeated in every channel;
    then bilinear resizing with antialiasing.
    """
    channels, height, width = shape
    if images.shape[1:] == shape:
        return images
    result = torch.empty((len(images), *shape), dtype=torch.uint8)
    # In chunks, so that the float copies stay small.
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK].float()
        if chunk.shape[1] != channels:
            weights = torch.tensor(_LUMA) if chunk.shape[1] == 3 else torch.full((chunk.shape[1],), 1 / chunk.shape[1])
            chunk = (chunk * weights.view(1, -1, 1, 1)).sum(dim=1, keepdim=True).expand(-1, channels, -1, -1)
        if chunk.shape[2:] != (height, width):
            chunk = functional.interpolate(chunk, (height, width), mode="bilinear", antialias=True)
        result[start : start + _CHUNK] = chunk.round().clamp(0, 255).to(torch.uint8)
    return result
