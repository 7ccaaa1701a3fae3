"""Samples that stay in their file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedkd.core.errors import DataError


@dataclass(frozen=True)
class MappedSamples:
    """Rows of a ``.npy`` file, read from it when they are asked for; ``rows`` are those meant (int64), None all.

    Raises ``DataError``, when it is first used, for a file that is no array of numbers.
    """

    path: Path
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.array) if self.rows is None else self.rows.numel()

    def __getitem__(self, positions: Tensor | slice) -> Tensor:
        rows = positions if self.rows is None else self.rows[positions]
        found = np.array(self.array[rows if isinstance(rows, slice) else rows.numpy()])
        return torch.from_numpy(found.astype(found.dtype.newbyteorder("="), copy=False))

    @cached_property
    def array(self) -> npt.NDArray[np.generic]:
        """The whole file, of which the system reads what is used."""
        try:
            found: npt.NDArray[np.generic] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise DataError(
                f"data.dataset: {self.path} cannot be read as an array of numbers ({error}); write it with "
                "numpy.save, without objects"
            ) from error
        if found.ndim == 0 or found.dtype.kind not in "biuf":
            raise DataError(
                f"data.dataset: {self.path} must hold numbers [samples, ...], got {found.dtype} {list(found.shape)}; "
                "write it with numpy.save"
            )
        return found
