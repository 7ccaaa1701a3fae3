"""The logits of many clients side by side: in memory or, where they are many, in a file that the system writes out."""

import math
import mmap
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32
from torch import Tensor

from fedkd.core.errors import RunError
from fedkd.core.messages import ClientReport

Array = npt.NDArray[Any]


IN_MEMORY_BYTES = 128 * 2**20
"""Up to here a block is ordinary memory."""

_BYTES = 4
"""Of a float32."""

_MAPPED: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()
"""The files behind blocks, by the address at which they begin."""


def new_block(*shape: int) -> Float32[Tensor, "..."]:
    """An uninitialised float32 tensor; beyond ``IN_MEMORY_BYTES`` in a memory-mapped temporary file.

    The file lies where Python's ``tempfile`` puts it (``TMPDIR``), has no name, and is gone with the last tensor on it,
    or with the process, however it ends. Raises ``RunError`` when there is no room for it.
    """
    size = math.prod(shape) * _BYTES
    if size <= IN_MEMORY_BYTES:
        return torch.empty(shape)
    try:
        with tempfile.TemporaryFile(prefix="fedkd-") as file:
            # Now, and not when a page is written, for which there is no error but the end of the process.
            os.posix_fallocate(file.fileno(), 0, size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise RunError(
            f"the answers of the clients take {size / 1e9:.1f} GB, for which there is no room in "
            f"{tempfile.gettempdir()} ({error}); make some, or set TMPDIR to a folder on a larger disk"
        ) from error
    block = torch.frombuffer(mapped, dtype=torch.float32).view(shape)
    _MAPPED[block.untyped_storage().data_ptr()] = mapped
    return block


def release_pages(part: Tensor) -> None:
    """Give back the memory in which the system holds the file of a block, until it is read again; nothing is lost.

    The system would do so itself when memory runs out. Does nothing for a block in memory.
    """
    if (mapped := _MAPPED.get(part.untyped_storage().data_ptr())) is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def stack_views(parts: Sequence[Tensor]) -> Tensor:
    """``torch.stack`` of equally shaped float32 tensors; where they follow one another at equal distances, a view.

    Otherwise the result is a new block. Raises ``ValueError`` for shapes that differ.
    """
    first = parts[0]
    if any(part.shape != first.shape for part in parts):
        raise ValueError(f"all parts must have one shape, got {sorted({tuple(part.shape) for part in parts})}")
    starts = _starts(parts)
    if len(parts) > 1 and starts is not None:
        step = starts[1] - starts[0]
        if step >= first.numel() and starts == list(range(starts[0], starts[0] + step * len(parts), step)):
            return first.as_strided((len(parts), *first.shape), (step, *first.stride()), starts[0])
    return torch.stack(list(parts), out=new_block(len(parts), *first.shape))


def joined(first: Tensor, second: Tensor) -> Tensor:
    """``torch.cat`` of two float32 tensors along their rows; a view where the second begins where the first ends."""
    starts = _starts([first, second])
    if starts is not None and starts[1] - starts[0] == first.numel() and first.shape[1:] == second.shape[1:]:
        return first.as_strided((len(first) + len(second), *first.shape[1:]), first.stride(), starts[0])
    return torch.cat([first, second])


def _starts(parts: Sequence[Tensor]) -> list[int] | None:
    """Where the parts begin in the storage of the first; None unless all are contiguous parts of it.

    By address: a tensor that was an array in between lies in the same memory, and knows only of its own part.
    """
    storage = parts[0].untyped_storage()
    begin, end = storage.data_ptr(), storage.data_ptr() + storage.nbytes()
    for part in parts:
        if part.numel() == 0 or part.dtype != torch.float32 or not part.is_contiguous():
            return None
        if not begin <= part.data_ptr() <= end - _BYTES * part.numel():
            return None
    return [(part.data_ptr() - begin) // _BYTES for part in parts]


class ReportBuffer:
    """A place for every client's logits of a round, and for those on the test samples right behind them.

    ``clients`` are all that may answer, in rising order; ``tests`` is the number of test samples, 0 where they are not
    asked about. What is put there is copied once, and then ``stack_views`` and ``joined`` have nothing left to copy.
    """

    def __init__(self, clients: Sequence[int], tests: int = 0) -> None:
        self._rows = {client: row for row, client in enumerate(clients)}
        self._tests = tests
        self._block: Tensor | None = None

    def put(self, client: int, logits: Tensor, tests: Array | None = None) -> tuple[Tensor, Array | None]:
        """The client's logits where they now are, and its ``tests``, if there are any, there too."""
        if self._block is None:
            self._block = new_block(len(self._rows), len(logits) + self._tests, logits.shape[1])
        placed = self._fill(self._block[self._rows[client]], logits, tests)
        release_pages(self._block)
        return placed

    def compact(
        self, reports: Sequence[ClientReport], tests: Mapping[int, Array]
    ) -> tuple[list[ClientReport], dict[int, Array]]:
        """The reports, sorted by client id, and their clients' ``tests``, moved up to where clients were left out."""
        moved, behind = list(reports), dict(tests)
        for index, report in enumerate(reports):
            if self._block is not None and self._rows[report.client] != index:
                logits, own = self._fill(self._block[index], report.logits, tests.get(report.client))
                moved[index] = replace(report, logits=logits)
                behind |= {} if own is None else {report.client: own}
        return moved, behind

    def _fill(self, row: Tensor, logits: Tensor, tests: Array | None) -> tuple[Tensor, Array | None]:
        mine, behind = row[: len(logits)], row[len(logits) :].numpy()
        mine.copy_(logits)
        if tests is None:
            return mine, None
        np.copyto(behind, tests)
        return mine, behind
