"""Nothing but the label."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from fedkd.core.coding.codec import LogitCodec


@dataclass(frozen=True, kw_only=True)
class OneHot(LogitCodec):
    """The most likely class, ⌈log₂ classes⌉ bits per sample; the first of several that are equally likely.

    The receiver reads it as a distribution with ``confidence`` on that class and the rest in equal parts on the others.
    The same information as 1-bit constrained quantisation (CFD, Sattler et al. 2021, Eq. 11, arXiv 2012.00632), in
    fewer bits. No differential privacy.
    """

    confidence: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.confidence < 1.0:
            raise ValueError(f"confidence must lie strictly between 0 and 1, got {self.confidence}; 0.99 is usual")

    def alphabets(self, classes: int) -> tuple[int, ...]:
        if self.confidence * classes <= 1.0:
            raise ValueError(f"confidence must exceed 1/{classes}, chance level, got {self.confidence}; raise it")
        return (classes,)

    def codes_of(self, logits: Float[np.ndarray, "samples classes"]) -> Integer[np.ndarray, "samples columns"]:
        return np.expand_dims(logits.argmax(axis=1), 1)

    def logits_of(
        self, codes: Integer[np.ndarray, "samples columns"], classes: int
    ) -> Float[np.ndarray, "samples classes"]:
        label = np.arange(classes) == codes
        return np.where(label, math.log(self.confidence), math.log((1.0 - self.confidence) / (classes - 1)))
