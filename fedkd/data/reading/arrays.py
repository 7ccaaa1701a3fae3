"""Arrays in .npz and .npy files, and what kind of samples they are."""

import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedkd.core.errors import DataError
from fedkd.core.files import is_file
from fedkd.data._mapped import MappedSamples
from fedkd.data.reading.files import check_memory, no_column, place
from fedkd.data.source import Encoder, Encoding

Array = npt.NDArray[Any]

_CHANNELS = {1, 3, 4}
_CHUNK = 4096
_LARGEST = float(np.finfo(np.float32).max)


class Arrays(ABC):
    """Arrays by name."""

    @abstractmethod
    def find(self, name: str) -> str | None:
        """What stands for the name and can be shown; None when nothing does."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names there are."""

    @abstractmethod
    def read(self, option: str, name: str) -> Array:
        """The array in memory; raises ``DataError`` for what is damaged, pickled, or larger than that."""

    def where(self, option: str, name: str) -> str:
        """What stands for the name; raises ``DataError`` when nothing does."""
        found = self.find(name)
        if found is None:
            raise no_column(option, name, self.names(), str(self))
        return found


@dataclass(frozen=True)
class Archive(Arrays):
    """An .npz file."""

    file: Path

    def __str__(self) -> str:
        return str(self.file)

    def find(self, name: str) -> str | None:
        return f"{name} in {self.file}" if name in self.names() else None

    def names(self) -> list[str]:
        try:
            with zipfile.ZipFile(self.file) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist()]
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise DataError(
                f"data.dataset.path: {self.file} cannot be read ({error}); write it with numpy.savez"
            ) from error

    def read(self, option: str, name: str) -> Array:
        where = self.where(option, name)
        try:
            with zipfile.ZipFile(self.file) as archive:
                entry = archive.getinfo(f"{name}.npy")
                check_memory(option, where, 3 * entry.file_size)
                with archive.open(entry) as stream:
                    return _read(stream, entry.file_size)
        except (OSError, EOFError, ValueError, KeyError, MemoryError, zipfile.BadZipFile) as error:
            raise _unreadable(option, where, error) from error
        except Exception as error:  # zlib, lzma and bz2 have errors of their own
            raise _unreadable(option, where, error) from error


@dataclass(frozen=True)
class Folder(Arrays):
    """.npy files in a folder; a name is that of a file in it, or a path that ends in .npy."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    def path(self, name: str) -> Path | None:
        """The file of that name."""
        beside = [self.folder / f"{name}.npy", self.folder / name]
        elsewhere = [place("path", name)] if name.endswith(".npy") else []
        return next((path for path in (*elsewhere, *beside) if path.suffix == ".npy" and is_file(path)), None)

    def find(self, name: str) -> str | None:
        path = self.path(name)
        return None if path is None else str(path)

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.npy"))

    def read(self, option: str, name: str) -> Array:
        file = Path(self.where(option, name))
        try:
            size = file.stat().st_size
            check_memory(option, str(file), 3 * size)
            with file.open("rb") as stream:
                return _read(stream, size)
        except (OSError, EOFError, ValueError, MemoryError) as error:
            raise _unreadable(option, str(file), error) from error


@dataclass(frozen=True)
class Form(Encoder, Encoding):
    """How rows of arrays become samples; it is known from their type and shape."""

    learns: ClassVar[bool] = False

    kind: Literal["images", "numbers", "tokens"]
    last: bool = False
    vocabulary: int | None = None

    def fit(self, public: Any) -> Encoding:
        return self

    def __call__(self, raw: Tensor) -> Tensor:
        if self.kind == "tokens":
            return raw.to(torch.int64)
        if self.kind == "numbers":
            return raw.to(torch.float32)
        if raw.ndim == 3:
            return raw.unsqueeze(1)
        return raw.permute(0, 3, 1, 2).contiguous() if self.last else raw


def form_of(option: str, where: str, array: Array, tokens: bool) -> Form:
    """What the array holds; raises ``DataError`` when it is nothing to learn from.

    Bytes ``[samples, height, width]`` and ``[samples, channels, height, width]`` are images; with the channels last
    where the last axis has 1, 3 or 4 entries and the second has not. Everything else is numbers, unless it is whole
    ones ``[samples, length]`` that are called tokens.
    """
    if array.dtype.kind not in "biuf" or array.ndim < 2 or 0 in array.shape:
        raise DataError(
            f"data.dataset.{option}: must be numbers [samples, ...], of two axes at least and none empty, got "
            f"{array.dtype} {list(array.shape)} in {where}; save one row for each sample"
        )
    if tokens:
        if array.dtype.kind not in "iu" or array.ndim != 2:
            raise DataError(
                f"data.dataset.{option}: tokens must be whole numbers [samples, length], got {array.dtype} "
                f"{list(array.shape)} in {where}; convert them, or set data.dataset.tokens=false"
            )
        return Form("tokens")
    if array.dtype == np.uint8 and array.ndim in {3, 4}:
        last = array.ndim == 4 and array.shape[3] in _CHANNELS and array.shape[1] not in _CHANNELS
        return Form("images", last)
    return Form("numbers")


def vocabulary_of(option: str, where: str, array: Array) -> int:
    """One more than the largest token; raises ``DataError`` for one below 0."""
    largest = 1
    for start in range(0, len(array), _CHUNK):
        chunk = array[start : start + _CHUNK]
        if int(chunk.min()) < 0:
            row = start + int((chunk < 0).any(axis=1).argmax())
            raise DataError(
                f"data.dataset.{option}: tokens must be 0 or more (0 fills up), got {int(chunk.min())} in sample {row} "
                f"of {where}; number them from 1"
            )
        largest = max(largest, int(chunk.max()))
    return largest + 1


def in_memory(option: str, where: str, array: Array, form: Form) -> Tensor:
    """The samples of an array; raises ``DataError`` for numbers that are not finite, or too large for float32.

    Steps of a series that are NaN in all channels are padding.
    """
    if array.dtype.kind == "f":
        for start in range(0, len(array), _CHUNK):
            chunk = array[start : start + _CHUNK]
            wild = ~np.isfinite(chunk)
            if chunk.dtype.itemsize > 4:
                wild |= np.abs(chunk) > _LARGEST
            if chunk.ndim == 3:
                wild &= ~np.isnan(chunk).all(axis=1, keepdims=True)
            if wild.any():
                place = tuple(np.argwhere(wild)[0].tolist())
                raise DataError(
                    f"data.dataset.{option}: must be finite numbers, got {chunk[place]} in sample {start + place[0]} "
                    f"of {where}; replace it, or leave the sample out"
                )
    return form(_tensor(array))


def labels_in(option: str, where: str, array: Array, samples: int) -> Array:
    """Whole numbers, one for each of the samples; raises ``DataError`` for everything else."""
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind in "US":
        raise DataError(
            f"data.dataset.{option}: must be whole numbers, got text in {where}; number the classes, such as by "
            "np.unique(labels, return_inverse=True)[1]"
        )
    if array.dtype.kind not in "biuf" or array.ndim != 1:
        raise DataError(
            f"data.dataset.{option}: must be whole numbers [samples], got {array.dtype} {list(array.shape)} in "
            f"{where}; save the number of each sample's class (of one-hot rows, labels.argmax(1))"
        )
    _same_length(option, where, len(array), samples)
    if array.dtype.kind == "f":
        wrong = ~(np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2**53))
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"data.dataset.{option}: must be whole numbers, got {array[row]} for sample {row} in {where}; save the "
                "numbers of classes"
            )
    return array.astype(np.uint64 if array.dtype.kind == "u" else np.int64)


def clients_in(option: str, where: str, array: Array, samples: int) -> Array:
    """Whole numbers or texts, one for each of the samples; raises ``DataError`` for everything else."""
    if array.dtype.kind not in "biuUS" or array.ndim != 1:
        raise DataError(
            f"data.dataset.{option}: must be whole numbers or texts [samples], got {array.dtype} {list(array.shape)} "
            f"in {where}; save the number or the name of each sample's client"
        )
    _same_length(option, where, len(array), samples)
    return np.array(array.astype("U"), dtype=object) if array.dtype.kind in "US" else array


def mapped(path: Path) -> MappedSamples:
    """The rows of an .npy file, none of which is read yet; raises ``DataError`` when it is none."""
    found = MappedSamples(path)
    try:
        with path.open("rb") as stream:
            _check_header(stream, path.stat().st_size)
    except (OSError, EOFError, ValueError) as error:
        raise _unreadable("path", str(path), error) from error
    return found


def _same_length(option: str, where: str, found: int, samples: int) -> None:
    if found != samples:
        raise DataError(
            f"data.dataset.{option}: must be one for each of the {samples} samples, got {found} in {where}; save as "
            "many as there are samples"
        )


def _tensor(array: Array) -> Tensor:
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    return torch.from_numpy(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")))


def _read(stream: Any, size: int) -> Array:
    _check_header(stream, size)
    stream.seek(0)
    found: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return found


def _check_header(stream: Any, size: int) -> None:
    """Raise ``ValueError`` unless the array that the header promises is in a file of ``size`` bytes."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which may run any code")
    count = 1
    for each in shape:
        count *= each
    if count * dtype.itemsize > size:
        raise ValueError(f"it is cut off: {dtype} {list(shape)} does not fit into {size} bytes")


def _unreadable(option: str, where: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"data.dataset.{option}: {where} cannot be read ({reason}); write it with numpy.save or numpy.savez, as an "
        "array of numbers"
    )
