"""The base class of every data source, and what it returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedkd.core.errors import ConfigError, DataError
from fedkd.core.files import checked_path
from fedkd.core.wording import shown


@dataclass(frozen=True)
class ImageSet:
    """A labelled image data set in memory, as 8-bit pixels.

    Images are uint8 ``[samples, channels, height, width]``; labels are int64 ``[samples]``, positions in
    ``class_names``. Raises ``DataError`` when shapes, types, or labels do not fit together.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for split, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            if images.dtype != torch.uint8 or images.ndim != 4:
                raise DataError(
                    f"{split}_images: must be uint8 [samples, channels, height, width], "
                    f"got {images.dtype} {list(images.shape)}; convert them in the data source's load()"
                )
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                raise DataError(
                    f"{split}_labels: must be int64, one for each of the {len(images)} images, "
                    f"got {labels.dtype} {list(labels.shape)}; convert them in the data source's load()"
                )
            if len(labels) == 0 or labels.min() < 0 or labels.max() >= len(self.class_names):
                span = f"{int(labels.min())} to {int(labels.max())}" if len(labels) else "no labels"
                raise DataError(
                    f"{split}_labels: must lie in 0 to {len(self.class_names) - 1}, the positions in class_names, "
                    f"got {span}; number the classes from 0 in the data source's load()"
                )
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"test_images: must have the shape of the train images, {list(self.train_images.shape[1:])}, "
                f"got {list(self.test_images.shape[1:])}; resize them in the data source's load()"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width


class DataSource(ABC):
    """Knows where a data set comes from; its dataclass fields are its options."""

    @abstractmethod
    def load(self, root: Path) -> ImageSet:
        """The data set, read from or downloaded into the folder ``root``.

        Raises ``DataError``, which says how to get the data, when they are neither there nor to be downloaded.
        """

    @abstractmethod
    def available(self, root: Path) -> bool:
        """Whether ``load`` can do without a download."""


def resolve_root(root: str | None) -> Path:
    """The folder of downloaded data sets: ``data.root``, or ``~/.cache/fedkd`` where it is null.

    Raises ``ConfigError`` for what cannot be a folder.
    """
    try:
        return checked_path("data.root", Path("~/.cache/fedkd" if root is None else root).expanduser())
    except RuntimeError as error:
        raise ConfigError([f"data.root: {error}, got {shown(root)}; give the folder's whole path"]) from error
