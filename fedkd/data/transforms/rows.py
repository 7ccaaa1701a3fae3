"""Images as time series."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedkd.core.errors import ConfigError
from fedkd.data.transform import Transform, Transformation
from fedkd.data.transforms.standardise import Standardise


@dataclass(frozen=True)
class Rows(Transform):
    """Images row by row from the top, as series [channels · width, height], after ``standardise``.

    Sequential images of Le et al. 2015 (arXiv:1504.00941), a row a step instead of a pixel.
    """

    def fit(self, public: Tensor) -> Transformation:
        if public.dtype != torch.uint8 or public.ndim != 4:
            raise ConfigError(
                [
                    f"data.transform: rows takes images [channels, height, width], got {list(public.shape[1:])} "
                    f"{public.dtype}; choose standardise, or a data set of images"
                ]
            )
        standardise = Standardise().fit(public)
        return lambda images: standardise(images).permute(0, 1, 3, 2).flatten(1, 2)
