"""The base class of every transform."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

Transformation = Callable[[Tensor], Tensor]


class Transform(ABC):
    """Makes what models see of what a data source has; its dataclass fields are its options."""

    @abstractmethod
    def fit(self, public: Tensor) -> Transformation:
        """What is done to all samples ``[samples, ...]``, found from the public ones alone.

        They are uint8 images [samples, channels, height, width], or float32 numbers, NaN where a series is padded, or
        int64 tokens; the result is float32 or int64, as many samples, NaN only where there was. There may be no public
        samples; raise ``ValueError``, saying so, where some are needed.
        """
