"""Real numbers as whole ones modulo 2³², in which masks hide perfectly and sums have no rounding."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MODULUS_BITS = 32
MOST_BITS = 24
"""Float32, in which clients compute, has no finer steps near 1."""

_HALF = 2 ** (MODULUS_BITS - 1)

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class FixedPoint:
    """Values in [−``bound``, ``bound``] in steps of 2^−``bits``; sums of up to ``terms`` of them never overflow.

    A value is rounded towards 0, by less than a step, and nothing else is lost: the decoded sum of n values is within
    n·2^−``bits`` of the true one. Rounding never makes a vector longer, so that what is proved of a sum of clipped
    vectors stays true. ``slack`` is room for what may come on top of the sum, such as noise, in the values' units.

    Raises ``ValueError`` when ``terms`` × ``bound`` + ``slack`` does not fit into 31 bits and a sign.
    """

    bits: int
    terms: int
    bound: float = 1.0
    slack: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST_BITS:
            raise ValueError(f"bits must lie in [1, {MOST_BITS}], got {self.bits}")
        if self.terms < 1:
            raise ValueError(f"terms must be at least 1, got {self.terms}")
        if not (self.bound > 0 and math.isfinite(self.bound) and self.slack >= 0):
            raise ValueError(f"bound must be finite and above 0 and slack at least 0, got {self.bound}, {self.slack}")
        if self._largest_sum(self.bits) >= _HALF:
            raise ValueError(
                f"{self.terms} values of up to {self.bound:g} in steps of 2^-{self.bits} overflow 2^{MODULUS_BITS}; "
                f"use at most {self.most_bits(self.terms, self.bound, self.slack)} bits or fewer clients"
            )

    @classmethod
    def finest(cls, terms: int, bound: float = 1.0, slack: float = 0.0) -> "FixedPoint":
        """The one with the smallest steps; raises ``ValueError`` when even halves overflow."""
        return cls(max(1, cls.most_bits(terms, bound, slack)), terms, bound, slack)

    @staticmethod
    def most_bits(terms: int, bound: float = 1.0, slack: float = 0.0) -> int:
        """The most fractional bits with which nothing overflows; below 1 when there are none."""
        return min(MOST_BITS, math.floor(math.log2((_HALF - 1) / (terms * bound + slack))))

    @property
    def error_bound(self) -> float:
        """The most by which the decoded sum of ``terms`` values differs from the true one, per coordinate."""
        return self.error_of(self.terms)

    def error_of(self, count: int) -> float:
        """The same for a sum of ``count`` values."""
        return math.ldexp(count, -self.bits)

    def encode(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        """The values as whole numbers of steps; raises ``ValueError`` for one out of range or not finite."""
        exact = np.asarray(values, dtype=np.float64)
        if not np.isfinite(exact).all() or (exact.size and float(np.abs(exact).max()) > self.bound):
            raise ValueError(f"values must be finite and within ±{self.bound:g} to be summed securely")
        return np.trunc(np.ldexp(exact, self.bits)).astype(np.int64)

    def decode(self, total: Words) -> npt.NDArray[np.float64]:
        """The sum that words stand for, exact in float64."""
        return np.ldexp(total.view(np.int32).astype(np.float64), -self.bits)

    def _largest_sum(self, bits: int) -> float:
        return math.ldexp(self.terms * self.bound + self.slack, bits)


def to_words(steps: npt.NDArray[np.int64]) -> Words:
    """Whole numbers modulo 2³²."""
    return (steps & 0xFFFF_FFFF).astype(np.uint32)
