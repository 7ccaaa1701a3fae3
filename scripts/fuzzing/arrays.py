"""Arrays that a dishonest client may send in the place of one that it should."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _with(array: Array, value: Any) -> Array:
    changed = array.astype(np.float64) if not np.can_cast(type(value), array.dtype) else array.copy()
    changed.reshape(-1)[: 1 + changed.size // 3] = value
    return changed


def _bits_flipped(array: Array, draw: random.Random) -> Array:
    data = bytearray(array.tobytes())
    for _ in range(1 + len(data) // 50):
        if data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return np.frombuffer(bytes(data), array.dtype).reshape(array.shape)


_TYPES = (
    *("float16", "float32", "float64", "longdouble", "complex64", "complex128", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool", "object", "S3", "U3", "datetime64[s]", "timedelta64[ns]", "V4"),
    *(">f4", ">f8", ">i4", ">i8", ">u2", [("a", "f4")]),
)

_CHANGES: tuple[Callable[[Array, random.Random], Any], ...] = (
    lambda array, draw: array.copy(),
    lambda array, draw: np.asfortranarray(array),
    lambda array, draw: np.array(array.tolist(), dtype=object),
    *(lambda array, draw, value=value: _with(array, value) for value in (np.nan, np.inf, -np.inf, 1e30, -1e30, 5e-324)),
    *(lambda array, draw, value=value: _with(array, value) for value in (0, -1, 2**31, 2**62, 255)),
    lambda array, draw: array[..., np.newaxis],
    lambda array, draw: array[np.newaxis, ...],
    lambda array, draw: array.reshape(-1),
    lambda array, draw: array.reshape(-1)[:-1],
    lambda array, draw: array.reshape(-1)[:0],
    lambda array, draw: array.reshape(-1)[::-1],
    lambda array, draw: np.repeat(array, 2, axis=0) if array.ndim else array,
    lambda array, draw: np.array(0, array.dtype),
    lambda array, draw: np.zeros((0, 0), array.dtype),
    lambda array, draw: np.zeros_like(array),
    lambda array, draw: np.zeros(array.shape + (1,) * 20, array.dtype),
    lambda array, draw: np.broadcast_to(np.uint8(1), (2**40,)),
    lambda array, draw: np.broadcast_to(np.float32(1), (2**20, 2**20)),
    lambda array, draw: np.broadcast_to(np.zeros((), array.dtype), (10**6, *array.shape)),
    lambda array, draw: np.frombuffer(bytes(draw.randrange(256) for _ in range(200)), np.uint8),
    _bits_flipped,
    _bits_flipped,
    lambda array, draw: np.ma.masked_array(array),
    lambda array, draw: array.tolist(),
    lambda array, draw: array.tobytes(),
    lambda array, draw: bytearray(array.tobytes()),
    lambda array, draw: None,
    lambda array, draw: "logits",
    lambda array, draw: {"shape": array.shape},
    lambda array, draw: 1.0,
    lambda array, draw: Array,
)


def changed(array: Array, draw: random.Random) -> Any:
    """Something in the place of an array."""
    if draw.random() < 0.4:
        kind: Any = draw.choice(_TYPES)
        try:
            return array.astype(kind)
        except (TypeError, ValueError):
            return np.zeros(array.shape, kind)
    return draw.choice(_CHANGES)(array, draw)
