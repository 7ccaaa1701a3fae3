"""Data sets of the Hugging Face hub, or in a folder, by the library ``datasets``."""

import importlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedkd.core.errors import DataError
from fedkd.core.wording import cut, nearest, shown
from fedkd.data.reading.arrays import form_of, in_memory
from fedkd.data.reading.files import check_memory, no_column, place
from fedkd.data.reading.labels import (
    TestShare,
    Values,
    check_columns,
    class_numbers,
    clients_of,
    divide,
    labels_of,
    one_after_the_other,
    sample_set,
)
from fedkd.data.reading.pictures import Channels, Pictures, Size, reading_image
from fedkd.data.reading.tables import as_text
from fedkd.data.reading.texts import Length, MostTokens, TextEncoder, Texts, Unit
from fedkd.data.source import DataSource, SampleSet

_LABELS = ("label", "labels", "target", "class")
_INPUTS = ("image", "img", "text", "sentence", "content")
_INSTALL = "pip install 'fedkd[huggingface]'"


@dataclass(frozen=True)
class Huggingface(DataSource):
    """A data set of the Hugging Face hub, kept in data.root, or in a folder (pip install 'fedkd[huggingface]').

    ``inputs`` (images, texts or numbers), ``label`` and ``client`` are columns; the first two are found where their
    types or names say which they are. ``subset`` is the configuration's name.
    Without a split ``test_split``, ``test_share`` of each class is for testing. ``size`` and ``channels`` are as in
    image_folder, ``tokens``, ``vocabulary`` and ``length`` as in text. No code of the data set is run.
    """

    dataset: str
    inputs: str | None = None
    label: str | None = None
    client: str | None = None
    subset: str | None = None
    train_split: str = "train"
    test_split: str | None = None
    test_share: TestShare = 0.2
    size: Size | None = None
    channels: Channels | None = None
    tokens: Unit = "word"
    vocabulary: MostTokens = 8192
    length: Length = 128

    def __post_init__(self) -> None:
        check_columns("inputs", self.inputs, self.label, self.client)

    def load(self, root: Path) -> SampleSet:
        splits = self._open(root)
        train = self._split(splits, "train_split", self.train_split)
        label = self.label or self._found("label", train, _LABELS, "ClassLabel", set())
        inputs = self.inputs or self._found("inputs", train, _INPUTS, "Image", {label, self.client})
        return replace(self, inputs=inputs, label=label)._load(splits, train)

    def _found(self, option: str, part: Any, usual: Sequence[str], kind: str, taken: Collection[str | None]) -> str:
        """The column that is the only one of its kind, has a usual name, or is alone."""
        left = [name for name in part.column_names if name not in taken]
        typed = [name for name in left if type(part.features[name]).__name__ == kind]
        named = [name for name in usual if name in left]
        for found in (typed, named[:1], left):
            if len(found) == 1:
                return found[0]
        raise DataError(
            f"data.dataset.{option}: {self.dataset} does not say which column it is, of "
            f"{cut(', '.join(map(str, part.column_names)))}; name it"
        )

    def _load(self, splits: dict[str, Any], train: Any) -> SampleSet:
        test = None
        if self.test_split is not None or "test" in splits:
            test = self._split(splits, "test_split", self.test_split or "test")
        parts = [train] if test is None else [train, test]
        for option, name in (("inputs", self.inputs), ("label", self.label), ("client", self.client)):
            for part in parts if option != "client" else parts[:1]:
                if name is not None and name not in part.column_names:
                    raise no_column(option, name, part.column_names, self.dataset)
        labels = [self._labels(part) for part in parts]
        names, *numbers = class_numbers("label", labels[0], labels[1] if len(labels) == 2 else None, self.dataset)
        rows = divide(numbers[0], self.test_share) if test is None else one_after_the_other(len(train), len(test))
        samples, encoder = self._samples(parts)
        return sample_set(
            (samples(rows[0]), samples(rows[1])),
            rows,
            torch.cat(numbers),
            names,
            clients=None if self.client is None else self._clients(train),
            encoder=encoder,
        )

    def available(self, root: Path) -> bool:
        # Of what is on the hub the library alone knows whether it has been fetched.
        return place("dataset", self.dataset).is_dir()

    def files(self) -> Iterable[Path]:
        return sorted(place("dataset", self.dataset).rglob("*"))

    def _open(self, root: Path) -> dict[str, Any]:
        """All splits by name."""
        try:
            library = importlib.import_module("datasets")
        except ImportError as error:
            raise DataError(
                f"data.dataset: huggingface needs the library datasets ({error}); run {_INSTALL}"
            ) from error
        folder = place("dataset", self.dataset)
        local = folder.is_dir()
        shown_before = library.is_progress_bar_enabled()
        library.disable_progress_bars()
        try:
            found = library.load_dataset(
                str(folder) if local else self.dataset,
                self.subset,
                cache_dir=str(root / "huggingface"),
                download_config=library.DownloadConfig(local_files_only=True) if local else None,
            )
        except Exception as error:  # the library lets through whatever its readers, pyarrow and the network raise
            reason = cut(" ".join(str(error).split()) or type(error).__name__)
            raise DataError(
                f"data.dataset.dataset: {self.dataset} cannot be loaded ({type(error).__name__}: {reason}); name a "
                "folder of csv, json, parquet or image files, or a data set of the hub that needs no code"
            ) from error
        finally:
            if shown_before:
                library.enable_progress_bars()
        return dict(found)

    def _split(self, splits: dict[str, Any], option: str, name: str) -> Any:
        if name in splits:
            return splits[name]
        close = nearest(name, splits)
        hint = f"did you mean {close!r}?" if close else f"name one of {cut(', '.join(splits))}"
        raise DataError(f"data.dataset.{option}: {self.dataset} has no split {shown(name)}; {hint}")

    def _labels(self, part: Any) -> Values:
        feature, values = part.features[self.label], part[self.label][:]
        if hasattr(feature, "int2str"):
            # The hub's mark for a label that is not given.
            values = [None if value is None or value < 0 else feature.int2str(value) for value in values]
        where = _places(self.dataset, str(self.label))
        return labels_of("label", [as_text("label", value, where(row)) for row, value in enumerate(values)], where)

    def _clients(self, part: Any) -> Values:
        where = _places(self.dataset, str(self.client))
        values = enumerate(part[self.client][:])
        return clients_of("client", [as_text("client", value, where(row)) for row, value in values], where)

    def _samples(self, parts: list[Any]) -> tuple[Callable[[Tensor], Any], TextEncoder | None]:
        """What gives the inputs at rows of all parts together, and what makes tokens of texts."""
        feature = parts[0].features[self.inputs]
        kind = type(feature).__name__
        if kind == "Image":
            return self._images(parts).__getitem__, None
        if kind == "Value" and feature.dtype in {"string", "large_string"}:
            texts = Texts([value or "" for part in parts for value in part[self.inputs][:]])
            return lambda rows: Texts(texts[rows]), TextEncoder(self.tokens, self.vocabulary, self.length)
        return self._numbers(parts).__getitem__, None

    def _images(self, parts: list[Any]) -> Tensor:
        pictures = Pictures("inputs", sum(map(len, parts)), self.size, self.channels)
        for part in parts:
            for row in range(len(part)):
                where = f"{self.inputs} of sample {row} in {self.dataset}"
                with reading_image(where):
                    image = part[row][self.inputs]
                if image is None:
                    raise DataError(f"data.dataset.inputs: there is no {where}; leave the sample out")
                pictures.add(image, where)
        return pictures.tensor

    def _numbers(self, parts: list[Any]) -> Tensor:
        where = f"{self.inputs} in {self.dataset}"
        check_memory("inputs", where, 3 * sum(part.data.nbytes for part in parts))
        try:
            array = np.array([row for part in parts for row in part[self.inputs][:]])
            if array.dtype.kind not in "biuf":
                raise ValueError(f"got {array.dtype}")
        except ValueError as error:
            raise DataError(
                f"data.dataset.inputs: must be images, texts, or numbers of one shape, got {where} of another kind "
                f"({error}); name another column"
            ) from error
        if array.ndim == 1:
            array = array[:, None]
        return in_memory("inputs", where, array, form_of("inputs", where, array, tokens=False))


def _places(dataset: str, column: str) -> Callable[[int], str]:
    return lambda row: f"sample {row} of {dataset}, column {column}"
