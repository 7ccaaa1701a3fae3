"""The named arrays of many clients as few large ones, so that the cost of sending one is not paid per client."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkd.core.messages import Arrays

NDArray = npt.NDArray[Any]


def pack(arrays: Sequence[Arrays]) -> tuple[list[NDArray], str]:
    """The clients' arrays joined by name, and the layout that ``unpack`` needs.

    Arrays of one name, dtype and shape are stacked, ``[clients, ...]``; those that differ in their first axis only,
    such as encoded bytes, are laid end to end.
    """
    groups: dict[tuple[str, str, tuple[int, ...] | None], _Group] = {}
    for position, named in enumerate(arrays):
        for name, array in named.items():
            key = (name, array.dtype.str, array.shape[1:] if array.ndim else None)
            group = groups.setdefault(key, _Group(name))
            group.positions.append(position)
            group.arrays.append(array)
    layout = []
    for group in groups.values():
        everyone = len(group.positions) == len(arrays)
        layout.append((group.name, None if everyone else group.positions, group.lengths()))
    return [group.joined() for group in groups.values()], json.dumps(layout, separators=(",", ":"))


def unpack(joined: Sequence[NDArray], layout: str, count: int) -> list[Arrays]:
    """The inverse of ``pack`` for ``count`` clients; the arrays are views. Raises ``ValueError`` for what cannot be."""
    found: list[Arrays] = [{} for _ in range(count)]
    for array, (name, positions, lengths) in zip(joined, json.loads(layout), strict=True):
        owners = range(count) if positions is None else positions
        if not all(0 <= owner < count for owner in owners):
            raise ValueError(f"array {name!r} belongs to a client beyond the {count} there are")
        for owner, part in zip(owners, _parts(name, array, lengths, len(owners)), strict=True):
            found[owner][name] = part
    return found


@dataclass
class _Group:
    """Arrays that can be joined, with the positions of the clients they belong to."""

    name: str
    positions: list[int] = field(default_factory=list)
    arrays: list[NDArray] = field(default_factory=list)

    def lengths(self) -> list[int] | None:
        """Each array's first axis; None where all arrays have the same shape."""
        if len({array.shape for array in self.arrays}) == 1:
            return None
        return [len(array) for array in self.arrays]

    def joined(self) -> NDArray:
        if self.lengths() is not None:
            return np.concatenate(self.arrays)
        return self.arrays[0][np.newaxis, ...] if len(self.arrays) == 1 else np.stack(self.arrays)


def _parts(name: str, array: NDArray, lengths: list[int] | None, count: int) -> list[NDArray]:
    if lengths is None:
        if len(array) != count:
            raise ValueError(f"array {name!r} holds {len(array)} clients, announced {count}")
        return [array[row, ...] for row in range(count)]
    ends = np.cumsum(lengths, dtype=np.int64).tolist()
    if min(lengths) < 0 or ends[-1] != len(array):
        raise ValueError(f"array {name!r} holds {len(array)} rows, announced lengths add up to {ends[-1]}")
    return [array[end - length : end] for end, length in zip(ends, lengths, strict=True)]
