"""Logits in half precision."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from fedkd.core.coding.codec import LogitCodec

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class Float16(LogitCodec):
    """The bits of the nearest IEEE 754 half-precision numbers: 16 bits per class.

    The error of a logit z is at most 2⁻¹¹·|z|, or 2⁻²⁵ where |z| < 2⁻¹⁴, after clipping to ±65504. No differential
    privacy.
    """

    def alphabets(self, classes: int) -> tuple[int, ...]:
        return (1 << 16,) * classes

    def codes_of(self, logits: Float[np.ndarray, "samples classes"]) -> Integer[np.ndarray, "samples columns"]:
        return np.ascontiguousarray(logits.clip(-_LARGEST, _LARGEST), np.float16).view(np.uint16)

    def logits_of(
        self, codes: Integer[np.ndarray, "samples columns"], classes: int
    ) -> Float[np.ndarray, "samples classes"]:
        return np.ascontiguousarray(codes, np.uint16).view(np.float16)
