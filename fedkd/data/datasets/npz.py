"""Arrays in an .npz file, or in .npy files that are never read as a whole."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fedkd.core.errors import DataError
from fedkd.core.files import is_file
from fedkd.core.samples import RawSamples
from fedkd.data._mapped import MappedSamples
from fedkd.data.reading.arrays import (
    Archive,
    Array,
    Arrays,
    Folder,
    clients_in,
    form_of,
    in_memory,
    labels_in,
    mapped,
    vocabulary_of,
)
from fedkd.data.reading.files import missing, place
from fedkd.data.reading.labels import TestShare, class_numbers, divide, one_after_the_other, sample_set
from fedkd.data.source import DataSource, SampleSet


@dataclass(frozen=True)
class Npz(DataSource):
    """Arrays in an .npz file, or in .npy files that are read piece by piece.

    ``path`` is the file, the folder of .npy files, or the one with the inputs; ``inputs`` and ``labels`` name arrays.
    Inputs are images (uint8 [samples, height, width], [samples, channels, height, width] or, where that is clear,
    [samples, height, width, channels]), numbers of any shape, or, with ``tokens``, whole numbers [samples, length],
    0 filling up. ``test_inputs`` and ``test_labels`` name test arrays (null: x_test for x, if there is one); without
    them, ``test_share`` of each class is for testing. ``client`` names an array that says whose each sample is.
    """

    path: str
    inputs: str = "x"
    labels: str = "y"
    test_inputs: str | None = None
    test_labels: str | None = None
    client: str | None = None
    tokens: bool = False
    test_share: TestShare = 0.2

    def load(self, root: Path) -> SampleSet:
        arrays, inputs = self._open()
        train = _Part(arrays, "inputs", inputs, self.tokens)
        labels = train.labels("labels", self.labels)
        clients = None
        if self.client is not None:
            where = arrays.where("client", self.client)
            clients = clients_in("client", where, arrays.read("client", self.client), train.count)
        tests = self._test_names(arrays, inputs)
        if tests is None:
            names, numbers, _ = class_numbers("labels", labels, None, train.where)
            rows = divide(numbers, self.test_share)
            inputs_of = (train.take(rows[0]), train.take(rows[1]))
            return sample_set(inputs_of, rows, numbers, names, clients=clients, encoder=train.encoder)
        test = _Part(arrays, "test_inputs", tests[0], self.tokens)
        train.check_like(test)
        names, *numbers_of = class_numbers("test_labels", labels, test.labels("test_labels", tests[1]), train.where)
        rows = one_after_the_other(train.count, test.count)
        encoder = train.encoder
        if encoder is not None and encoder.vocabulary is not None:
            encoder = replace(encoder, vocabulary=max(encoder.vocabulary, test.vocabulary))
        inputs_of = (train.take(torch.arange(train.count)), test.take(torch.arange(test.count)))
        return sample_set(inputs_of, rows, torch.cat(numbers_of), names, clients=clients, encoder=encoder)

    def available(self, root: Path) -> bool:
        return place("path", self.path).exists()

    def files(self) -> Iterable[Path]:
        path = place("path", self.path)
        beside = path if path.is_dir() else path.parent
        named = [name for name in (self.labels, self.test_inputs, self.test_labels, self.client) if name is not None]
        elsewhere = [place("path", name) for name in named if name.endswith(".npy")]
        return [path] if path.suffix == ".npz" else [path, *sorted(beside.glob("*.npy")), *elsewhere]

    def _open(self) -> tuple[Arrays, str]:
        """The arrays, and the name of the inputs among them."""
        path = place("path", self.path)
        if path.is_dir():
            return Folder(path), self.inputs
        if not is_file(path):
            raise missing("path", path, "file or folder")
        if path.suffix.lower() == ".npz":
            return Archive(path), self.inputs
        if path.suffix.lower() == ".npy":
            return Folder(path.parent), str(path)
        raise DataError(
            f"data.dataset.path: must be an .npz file, an .npy file or a folder of .npy files, got {path}; write one "
            "with numpy.savez, or name another data source (fedkd list datasets)"
        )

    def _test_names(self, arrays: Arrays, inputs: str) -> tuple[str, str] | None:
        """The names of the test arrays, if there are some."""
        first = self.test_inputs or _if_there(arrays, inputs)
        second = self.test_labels or _if_there(arrays, self.labels)
        if first is not None and second is not None:
            return first, second
        if first is None and second is None:
            return None
        there, absent = ("test_inputs", "test_labels") if second is None else ("test_labels", "test_inputs")
        raise DataError(
            f"data.dataset.{absent}: must be named beside data.dataset.{there}, which is {first or second}; name the "
            "array"
        )


class _Part:
    """The train or the test samples."""

    def __init__(self, arrays: Arrays, option: str, name: str, tokens: bool) -> None:
        self._arrays = arrays
        self.where = arrays.where(option, name)
        lazy = mapped(Path(self.where)) if isinstance(arrays, Folder) else None
        array = arrays.read(option, name) if lazy is None else lazy.array
        form = form_of(option, self.where, array, tokens)
        self.vocabulary = vocabulary_of(option, self.where, array) if tokens else 0
        self.count, self._shape, self._kind = len(array), array.shape[1:], form.kind
        self._samples = in_memory(option, self.where, array, form) if lazy is None else lazy
        self.encoder = replace(form, vocabulary=self.vocabulary or None) if lazy is not None else None

    def take(self, rows: Tensor) -> Tensor | RawSamples:
        """The samples at rows, which stay in their file if they are there."""
        if isinstance(self._samples, MappedSamples):
            return replace(self._samples, rows=rows)
        # Without a copy where it is all of them.
        return self._samples if len(rows) == self.count else self._samples[rows]

    def labels(self, option: str, name: str) -> Array:
        return labels_in(option, self._arrays.where(option, name), self._arrays.read(option, name), self.count)

    def check_like(self, test: "_Part") -> None:
        if (test._shape, test._kind) != (self._shape, self._kind):
            raise DataError(
                f"data.dataset.test_inputs: must be like the train samples, {self._kind} {list(self._shape)} in "
                f"{self.where}, got {test._kind} {list(test._shape)} in {test.where}; make them alike"
            )


def _if_there(arrays: Arrays, name: str) -> str | None:
    stem = name.removesuffix(".npy")
    test = f"{stem}_test{name[len(stem) :]}"
    return test if arrays.find(test) is not None else None
