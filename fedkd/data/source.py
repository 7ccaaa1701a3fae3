"""The base class of every data source, and what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fedkd.core.errors import ConfigError, DataError, TooFewClassesError
from fedkd.core.files import checked_path
from fedkd.core.samples import RawSamples
from fedkd.core.wording import shown

LOAD = "in the data source's load()"


class Encoding(ABC):
    """Makes tensors of raw samples; the tokens among them are below ``vocabulary`` (None: they are numbers)."""

    vocabulary: int | None = None

    @abstractmethod
    def __call__(self, raw: Any) -> Tensor:
        """The samples as float32 numbers or int64 tokens ``[samples, ...]``."""


class Encoder(ABC):
    """Knows how raw samples become tensors once it has seen some of them.

    One that ``learns`` nothing of them does without, too.
    """

    learns: ClassVar[bool] = True

    @abstractmethod
    def fit(self, public: Any) -> Encoding:
        """The encoding that the public samples suggest; no other samples are ever shown."""


@dataclass(frozen=True)
class OtherLabels:
    """What else is known of every sample: int64 ``[samples]``, positions in ``class_names``."""

    train: Tensor
    test: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(map(str, self.class_names)))
        for split in ("train", "test"):
            object.__setattr__(self, split, _labels(f"other_labels, {split}", getattr(self, split), self.class_names))


@dataclass(frozen=True)
class SampleSet:
    """A labelled data set: samples of one kind and shape, with the number of each one's class.

    ``train_inputs`` and ``test_inputs`` are tensors ``[samples, ...]`` (or NumPy arrays): uint8 images
    [samples, channels, height, width], numbers of any shape, or whole numbers, which are tokens. In float series
    [samples, channels, time], steps of NaN in all channels are padding. Else they are ``RawSamples``, of which
    ``encoder`` makes such tensors. Labels are int64 ``[samples]``, positions in ``class_names``. There may be no test
    samples where nobody tests: among those that a client keeps at home.

    ``train_clients`` says whose sample each train sample is by nature (a writer, a speaker, a hospital), as positions
    in ``client_names``; ``other_labels`` are those of further tasks, by name. Raises ``DataError`` when shapes, types,
    or labels do not fit together.
    """

    train_inputs: Tensor | RawSamples
    train_labels: Tensor
    test_inputs: Tensor | RawSamples
    test_labels: Tensor
    class_names: tuple[str, ...]
    train_clients: Tensor | None = None
    client_names: tuple[str, ...] = ()
    other_labels: Mapping[str, OtherLabels] = field(default_factory=dict)
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        for name in ("class_names", "client_names"):
            object.__setattr__(self, name, tuple(map(str, getattr(self, name))))
        for split in ("train", "test"):
            inputs = _inputs(f"{split}_inputs", getattr(self, f"{split}_inputs"))
            labels = _labels(f"{split}_labels", getattr(self, f"{split}_labels"), self.class_names)
            object.__setattr__(self, f"{split}_inputs", inputs)
            object.__setattr__(self, f"{split}_labels", labels)
            _same_length(f"{split}_labels", labels, f"{split}_inputs", len(inputs))
            for name, other in self.other_labels.items():
                _same_length(f"other_labels[{name!r}], {split}", getattr(other, split), f"{split}_inputs", len(inputs))
        self._check_alike()
        if self.train_clients is not None:
            clients = _labels("train_clients", self.train_clients, self.client_names, "client_names")
            object.__setattr__(self, "train_clients", clients)
            _same_length("train_clients", clients, "train_inputs", len(self.train_inputs))

    def _check_alike(self) -> None:
        train, test = self.train_inputs, self.test_inputs
        if isinstance(train, Tensor) and isinstance(test, Tensor):
            if train.shape[1:] != test.shape[1:]:
                raise DataError(
                    f"test_inputs: must have the shape of the train samples, {list(train.shape[1:])}, got "
                    f"{list(test.shape[1:])}; make them alike {LOAD}"
                )
            if train.dtype != test.dtype:
                raise DataError(
                    f"test_inputs: must be {train.dtype}, as the train samples are, got {test.dtype}; "
                    f"convert them {LOAD}"
                )
        if (present := self.train_labels.unique().numel()) < 2:
            raise TooFewClassesError(
                f"train_labels: must name two classes at least, got {present}; there is nothing to learn from samples "
                "of one class"
            )


def _inputs(name: str, found: Any) -> Tensor | RawSamples:
    if isinstance(found, np.ndarray):
        found = _as_tensor(name, found)
    if not isinstance(found, Tensor):
        if isinstance(found, RawSamples) and not isinstance(found, Sequence | Mapping):
            return found
        raise DataError(
            f"{name}: must be a tensor [samples, ...], got a {type(found).__name__}; convert it {LOAD} (torch.stack, "
            "torch.from_numpy), or return RawSamples with an encoder"
        )
    if found.ndim == 0 or found.is_complex() or found.is_quantized or found.layout != torch.strided:
        raise DataError(
            f"{name}: must be numbers [samples, ...], got {found.dtype} {list(found.shape)}; convert them {LOAD}"
        )
    if found.dtype == torch.uint8 or found.is_floating_point():
        return found
    if found.dtype == torch.bool:
        return found.float()
    if len(found) and int(found.min()) < 0:
        raise DataError(
            f"{name}: whole numbers are tokens, which count from 0, got {int(found.min())}; make them float32 {LOAD} "
            "where they are quantities"
        )
    return found.to(torch.int64)


def _labels(name: str, found: Any, names: tuple[str, ...], key: str = "class_names") -> Tensor:
    """``found`` as int64, when it holds positions in ``names``."""
    if isinstance(found, np.ndarray):
        found = _as_tensor(name, found)
    if not isinstance(found, Tensor) or found.ndim != 1 or found.is_floating_point() or found.is_complex():
        got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise DataError(
            f"{name}: must be int64 [samples], each sample's position in {key}, got {got}; convert them {LOAD}, such "
            "as by np.unique(labels, return_inverse=True)[1]"
        )
    if found.numel() and (int(found.min()) < 0 or int(found.max()) >= len(names)):
        raise DataError(
            f"{name}: must lie in 0 to {len(names) - 1}, the positions in {key}, got {int(found.min())} to "
            f"{int(found.max())}; number them from 0 {LOAD}"
        )
    return found.to(torch.int64)


def _as_tensor(name: str, found: "np.ndarray[Any, np.dtype[Any]]") -> Tensor:
    if found.dtype.kind not in "biuf":
        raise DataError(
            f"{name}: must be numbers, got an array of {found.dtype}; number texts {LOAD}, such as by "
            "np.unique(labels, return_inverse=True)[1]"
        )
    if found.dtype.kind == "u" and found.dtype.itemsize > 1:
        found = found.astype(np.int64)
    # A copy, for torch warns of arrays that cannot be written to, and knows no other byte order than the machine's.
    return torch.from_numpy(np.array(found, dtype=found.dtype.newbyteorder("=")))


def _same_length(name: str, labels: Tensor, of: str, count: int) -> None:
    if labels.numel() != count:
        raise DataError(
            f"{name}: must be one for each of the {count} {of}, got {labels.numel()}; make them as many {LOAD}"
        )


class DataSource(ABC):
    """Knows where a data set comes from; its dataclass fields are its options.

    ``installed_by`` is the command that installs one that is never downloaded.
    """

    installed_by: ClassVar[str | None] = None

    @abstractmethod
    def load(self, root: Path) -> SampleSet:
        """The data set, read from files of its own or from the folder ``root``, into which it may be downloaded.

        Raises ``DataError``, which says how to get the data, when they cannot be had.
        """

    def available(self, root: Path) -> bool:
        """Whether ``load`` can do without a download."""
        return True

    def files(self) -> Iterable[Path]:
        """Files of the user's own that ``load`` reads: when they have changed, so have the data."""
        return ()


def resolve_root(root: str | None) -> Path:
    """The folder of downloaded data sets: ``data.root``, or ``~/.cache/fedkd`` where it is null.

    Raises ``ConfigError`` for what cannot be a folder.
    """
    try:
        return checked_path("data.root", Path("~/.cache/fedkd" if root is None else root).expanduser())
    except RuntimeError as error:
        raise ConfigError([f"data.root: {error}, got {shown(root)}; give the folder's whole path"]) from error
