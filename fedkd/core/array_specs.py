"""What the arrays of a reply have to be, declared before anybody looks into them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fedkd.core.messages import Arrays
from fedkd.core.packing import NDArray

LARGEST_ITEM = 8
"""Bytes of the widest numbers that travel: those of 64 bits."""


@dataclass(frozen=True)
class ArraySpec:
    """An array of one ``dtype``, in this machine's byte order, and one ``shape``, with values in [``low``, ``high``].

    Values are finite in any case. With ``shorter`` the first axis may be shorter, with ``optional`` the array may be
    missing; ``total`` is what the values add up to (None: anything).
    """

    dtype: str
    shape: tuple[int, ...]
    low: int | float = -math.inf
    high: int | float = math.inf
    shorter: bool = False
    optional: bool = False
    total: int | None = None

    @property
    def nbytes(self) -> int:
        """The most bytes that it may take."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def read(self, name: str, array: NDArray) -> NDArray:
        """The array, contiguous; raises ``ValueError`` when it is something else, before anything is copied."""
        if array.dtype != np.dtype(self.dtype) or not self._fits(array.shape):
            raise ValueError(
                f"{name} must be {self.dtype} of shape {self._shape_text()}, got {array.dtype} of shape {array.shape}"
            )
        if array.size:
            with np.errstate(invalid="ignore"):
                least, most = array.min().item(), array.max().item()
            if not (-math.inf < least and most < math.inf):
                raise ValueError(f"{name} must be finite, got NaN or infinity")
            if not (self.low <= least and most <= self.high):
                raise ValueError(
                    f"{name} must lie within [{self.low:g}, {self.high:g}], got values from {least:g} to {most:g}"
                )
        if self.total is not None and (found := sum(array.ravel().tolist())) != self.total:
            raise ValueError(f"{name} must add up to {self.total}, got {found}")
        return array if array.flags.c_contiguous and array.flags.aligned else np.array(array, order="C")

    def _fits(self, shape: tuple[int, ...]) -> bool:
        if self.shorter and len(shape) == len(self.shape):
            return shape[0] <= self.shape[0] and shape[1:] == self.shape[1:]
        return shape == self.shape

    def _shape_text(self) -> str:
        text = str(self.shape)
        return f"(≤ {text[1:]}" if self.shorter else text


def plain_arrays(arrays: object) -> Arrays:
    """The same arrays, if they are what may travel: NumPy arrays of booleans, whole and real numbers, by name.

    Numbers have at most 64 bits, in this machine's byte order. Raises ``ValueError`` for anything else.
    """
    if type(arrays) is not dict:
        raise ValueError(f"arrays must be a dict of arrays by name, got {type(arrays).__name__}")
    for name, array in arrays.items():
        if type(name) is not str:
            raise ValueError(f"names of arrays must be text, got {type(name).__name__}")
        if type(array) is not np.ndarray:
            raise ValueError(f"array {name!r} must be a NumPy array, got {type(array).__name__}")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > LARGEST_ITEM or not array.dtype.isnative:
            raise ValueError(
                f"array {name!r} must hold numbers of at most {8 * LARGEST_ITEM} bits in this machine's byte order, "
                f"got {array.dtype}"
            )
    return arrays


def read_arrays(arrays: object, specs: Mapping[str, ArraySpec]) -> Arrays:
    """The arrays, if they are exactly what ``specs`` declare by name; raises ``ValueError`` otherwise.

    What nobody declared is refused, so that the bytes of what is returned are at most ``most_bytes``.
    """
    found = plain_arrays(arrays)
    for name, array in found.items():
        if name not in specs:
            raise ValueError(f"sent {name!r}, {array.nbytes} bytes that nobody asked for")
    for name, spec in specs.items():
        if name not in found and not spec.optional:
            raise ValueError(f"sent no {name}")
    return {name: specs[name].read(name, array) for name, array in found.items()}


def most_bytes(specs: Mapping[str, ArraySpec]) -> int:
    """The most bytes that arrays may take which are what ``specs`` declare."""
    return sum(spec.nbytes for spec in specs.values())
