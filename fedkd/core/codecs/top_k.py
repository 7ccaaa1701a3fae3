"""The largest classes, and one value for all the others."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from fedkd.core.coding.codec import LogitCodec
from fedkd.core.coding.options import check_range

_HALF = 16
_SMALLEST, _LARGEST = 2.0**-24, 65504.0
_POSITIVE_HALVES = 0x7C00


@dataclass(frozen=True, kw_only=True)
class TopK(LogitCodec):
    """The ``k`` most likely classes with their values; the other classes share the probability that is left evenly.

    Sent are, per sample, k class indices of ⌈log₂ classes⌉ bits and k log-odds of ``bits`` bits: how far each class but
    the first lies behind the first, d = max z − z, and how far the mean probability of the others does. With 1 to 8
    ``bits``, d is clipped to [0, ``range``], divided into 2^bits cells, and read as its cell's middle, so that the
    error is at most range/2^(bits + 1) after clipping and the most likely class stays so. With 16, d is the nearest
    half-precision number in [2⁻²⁴, 65504], which takes 15 bits without its sign; ``range`` (8 unless given, for fewer
    bits) has no meaning then.

    A class whose value falls into the same cell as the others' is not told apart from them; the place goes to the
    first such class. No differential privacy.
    """

    k: int = 3
    bits: int = 8
    range: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if not (1 <= self.bits <= 8 or self.bits == _HALF):
            raise ValueError(f"bits must lie in [1, 8] or be 16, half precision; got {self.bits}")
        if self.range is not None and self.bits == _HALF:
            raise ValueError(f"range must not be given with 16 bits, got {self.range}; leave it out")
        check_range(self.range)

    def alphabets(self, classes: int) -> tuple[int, ...]:
        if self.k >= classes:
            raise ValueError(f"k must be less than the {classes} classes, got {self.k}; to send all, use quantise")
        levels = _POSITIVE_HALVES if self.bits == _HALF else 1 << self.bits
        return (classes,) * self.k + (levels,) * self.k

    def codes_of(self, logits: Float[np.ndarray, "samples classes"]) -> Integer[np.ndarray, "samples columns"]:
        # Ties that quantisation makes are broken by the second pass, so that what was decoded is encoded alike.
        once = self._select(logits.astype(np.float64))
        return self._select(self.logits_of(once, logits.shape[1]))

    def logits_of(
        self, codes: Integer[np.ndarray, "samples columns"], classes: int
    ) -> Float[np.ndarray, "samples classes"]:
        indices, levels = codes[:, : self.k], codes[:, self.k :]
        if bool((np.diff(np.sort(indices, axis=1), axis=1) == 0).any()):
            raise ValueError("a sample names a class twice among its largest")
        if bool((np.diff(levels, axis=1) < 0).any()):
            raise ValueError("the values of a sample's largest classes must not rise")
        behind = self._values(levels)
        logits = np.repeat(-behind[:, -1:], classes, axis=1)
        np.put_along_axis(logits, indices[:, 1:], -behind[:, :-1], axis=1)
        np.put_along_axis(logits, indices[:, :1], 0.0, axis=1)
        return logits

    def _select(self, logits: Float[np.ndarray, "samples classes"]) -> Integer[np.ndarray, "samples columns"]:
        order = np.argsort(-logits, axis=1, kind="stable")
        falling = np.take_along_axis(logits, order, axis=1)
        behind = falling[:, :1] - falling
        others = behind[:, self.k :]
        nearest = others[:, :1]
        mean = nearest - np.log(np.exp(nearest - others).mean(axis=1, keepdims=True))
        return np.hstack([order[:, : self.k], self._levels(np.hstack([behind[:, 1 : self.k], mean]))])

    def _levels(self, behind: Float[np.ndarray, "samples k"]) -> Integer[np.ndarray, "samples k"]:
        if self.bits == _HALF:
            halves = behind.clip(_SMALLEST, _LARGEST).astype(np.float16)
            return halves.view(np.uint16).astype(np.int64)
        return np.minimum(behind / self._cell, (1 << self.bits) - 1).astype(np.int64)

    def _values(self, levels: Integer[np.ndarray, "samples k"]) -> Float[np.ndarray, "samples k"]:
        if self.bits == _HALF:
            return np.ascontiguousarray(levels, np.uint16).view(np.float16).astype(np.float64)
        return (levels + 0.5) * self._cell

    @property
    def _cell(self) -> float:
        return (8.0 if self.range is None else self.range) / (1 << self.bits)
