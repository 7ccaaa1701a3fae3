"""Between 0 and 1."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedkd.data.transform import Transform, Transformation


@dataclass(frozen=True)
class Scale(Transform):
    """Pixels / 255; other numbers from 0, the least public value of a channel or feature (axis 1), to 1, the largest.

    What is the same in all public samples becomes 0 there. Tokens stay as they are.
    """

    def fit(self, public: Tensor) -> Transformation:
        if public.dtype == torch.int64:
            return lambda samples: samples
        if public.dtype == torch.uint8:
            return lambda pixels: pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        if len(public) == 0:
            raise ValueError("takes the least and the largest value from the public samples, of which there are none")
        values = public.double().numpy()
        axes = (0, *range(2, public.ndim))
        there = np.isfinite(values)
        least = np.where(there, values, np.inf).min(axis=axes, keepdims=True)
        most = np.where(there, values, -np.inf).max(axis=axes, keepdims=True)
        # A channel that is padding throughout has no numbers.
        least = np.where(np.isfinite(least), least, 0.0)
        width = np.where(most > least, most - least, 1.0)
        start, span = torch.from_numpy(least), torch.from_numpy(width)
        return lambda samples: ((samples.double() - start) / span).float()
