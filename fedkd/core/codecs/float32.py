"""Logits as they are."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from fedkd.core.coding.codec import LogitCodec


@dataclass(frozen=True, kw_only=True)
class Float32(LogitCodec):
    """The bits of float32 logits: exact, 32 bits per class. No differential privacy."""

    def alphabets(self, classes: int) -> tuple[int, ...]:
        return (1 << 32,) * classes

    def codes_of(self, logits: Float[np.ndarray, "samples classes"]) -> Integer[np.ndarray, "samples columns"]:
        return np.ascontiguousarray(logits, np.float32).view(np.uint32)

    def logits_of(
        self, codes: Integer[np.ndarray, "samples columns"], classes: int
    ) -> Float[np.ndarray, "samples classes"]:
        return np.ascontiguousarray(codes, np.uint32).view(np.float32)
