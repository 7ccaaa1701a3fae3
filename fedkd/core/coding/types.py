"""What goes into a codec beside logits, and what comes out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt
from torch import Tensor

Codes = UInt[np.ndarray, "samples columns"]
"""The whole numbers that stand for logits, in the smallest of uint8, uint16 and uint32 that holds them."""


@dataclass(frozen=True)
class Previous:
    """The codes last sent for the same samples; ``known`` is False where none were, and the codes then count as 0."""

    codes: Codes
    known: Bool[np.ndarray, " samples"]


@dataclass(frozen=True)
class Encoded:
    """A message and the codes in it; the codes of samples that were not sent are 0."""

    data: bytes
    codes: Codes


@dataclass(frozen=True)
class Decoded:
    """What a message says: float32 logits, finite, 0 where the sender abstains.

    ``mask`` is False where the sender abstains (None: nowhere); ``codes`` are those of ``Encoded``.
    """

    logits: Float[Tensor, "samples classes"]
    mask: Bool[Tensor, " samples"] | None
    codes: Codes
