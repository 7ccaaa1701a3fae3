"""Mean 0 and standard deviation 1."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedkd.data._images import channel_statistics
from fedkd.data._images import standardise as standardise_images
from fedkd.data.transform import Transform, Transformation


@dataclass(frozen=True)
class Standardise(Transform):
    """(x − mean) / standard deviation per channel or feature (axis 1), by the public samples; tokens stay as they are.

    What is the same in all public samples counts as of deviation 1. The sums do not depend on the number of threads.
    """

    def fit(self, public: Tensor) -> Transformation:
        if public.dtype == torch.int64:
            return lambda samples: samples
        if len(public) == 0:
            raise ValueError("takes mean and deviation from the public samples, of which there are none")
        if public.dtype == torch.uint8 and public.ndim == 4:
            means, deviations = channel_statistics(public)
            return lambda images: standardise_images(images, means, deviations)
        mean, deviation = _statistics(public)
        return lambda samples: ((samples.double() - mean) / deviation).float()


def _statistics(public: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation in float64, shaped to be broadcast over samples; padding is left out."""
    axes = (0, *range(2, public.ndim))
    values = public.double().numpy()
    there = np.isfinite(values)
    count = np.maximum(there.sum(axis=axes, keepdims=True), 1)
    mean = np.where(there, values, 0.0).sum(axis=axes, keepdims=True) / count
    squares = np.where(there, values - mean, 0.0) ** 2
    deviation = np.sqrt(squares.sum(axis=axes, keepdims=True) / count)
    # Rounding leaves a constant with a deviation of about nothing.
    deviation[deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-300)] = 1.0
    return torch.from_numpy(mean), torch.from_numpy(deviation)
