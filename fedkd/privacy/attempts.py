"""What makes a release the same release: a digest over everything that it follows from.

Noise belongs to an attempt, and so does its charge (``fedkd.privacy.ledger``). An attempt is named by what determines
the release; equal names mean equal releases, and whatever is different has other noise and another charge.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
from torch import Tensor

Part = object
"""A number, a text, bytes, None, an array or tensor, or a list, tuple or mapping of such."""


def name_of(*parts: Part) -> str:
    """The SHA-256 digest of the parts, 64 hexadecimal digits: equal for equal parts, and for no others.

    Arrays and tensors count by type, shape and bytes, mappings by their sorted keys. Raises ``TypeError`` for anything
    else.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(_digest(part))
    return digest.hexdigest()


def _digest(part: Part) -> bytes:
    """32 bytes, whatever the part: with its kind, lest a text be taken for a number."""
    if isinstance(part, Tensor):
        part = part.detach().cpu().numpy()
    digest = hashlib.sha256(f"{type(part).__name__}:".encode())
    match part:
        case np.ndarray():
            digest.update(f"{part.dtype.str}{part.shape}:".encode())
            digest.update(np.ascontiguousarray(part).data if part.size else b"")
        case bytes():
            digest.update(part)
        case None | bool() | int() | float() | str():
            digest.update(repr(part).encode())
        case Mapping():
            digest = hashlib.sha256(b"mapping:")
            for key in sorted(part, key=repr):
                digest.update(_digest(key) + _digest(part[key]))
        case tuple() | list():
            digest = hashlib.sha256(b"sequence:")
            for each in part:
                digest.update(_digest(each))
        case _:
            raise TypeError(f"an attempt is named by numbers, texts and arrays, got {type(part).__name__}")
    return digest.digest()
