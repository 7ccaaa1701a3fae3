"""Any of torchvision's data sets for classification."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkd.core.errors import DataError
from fedkd.core.wording import shown
from fedkd.data.datasets._torchvision import class_of, open_any, parameters_of
from fedkd.data.reading.labels import TestShare, check_classes, divide, one_after_the_other, sample_set
from fedkd.data.reading.pictures import Channels, Pictures, Size, reading_image
from fedkd.data.source import DataSource, SampleSet


@dataclass(frozen=True)
class Torchvision(DataSource):
    """Any of torchvision's data sets for classification, downloaded into data.root.

    ``dataset`` is a class of ``torchvision.datasets``, ``options`` are given to it. ``train_split`` and ``test_split``
    are what it calls its splits (null: train and test); where it has none, ``test_share`` of each class is for testing.
    ``size`` ([height, width]) resizes the images, ``channels`` makes them grey (1) or coloured (3; null: coloured if
    one is).
    """

    dataset: str
    options: dict[str, Any] = field(default_factory=dict)
    train_split: str | None = None
    test_split: str | None = None
    test_share: TestShare = 0.2
    size: Size | None = None
    channels: Channels | None = None

    def load(self, root: Path) -> SampleSet:
        found = open_any(self.dataset, root, self._selections(), self.options)
        pictures = Pictures("dataset", sum(map(len, found)), self.size, self.channels)
        labels = torch.tensor([label for split in found for label in self._take(split, pictures)])
        names = _names(found[0], int(labels.max()) + 1)
        check_classes("dataset", [names[label] for label in labels.unique().tolist()], len(labels), self.dataset)
        rows = one_after_the_other(len(found[0]), len(found[1])) if len(found) == 2 else divide(labels, self.test_share)
        images = pictures.tensor
        return sample_set((images[rows[0]], images[rows[1]]), rows, labels, names)

    def available(self, root: Path) -> bool:
        try:
            open_any(self.dataset, root, self._selections(), self.options, download=False)
        except DataError:
            return False
        return True

    def _selections(self) -> list[dict[str, Any]]:
        """The arguments that select the train split and, where there is one, the test split."""
        known = parameters_of(class_of(self.dataset))
        named = self.train_split is not None or self.test_split is not None
        if "split" in known and (named or "train" not in known):
            return [{"split": self.train_split or "train"}, {"split": self.test_split or "test"}]
        if named:
            option = "train_split" if self.train_split is not None else "test_split"
            raise DataError(
                f"data.dataset.{option}: {self.dataset} has no splits with names, got {getattr(self, option)!r}; leave "
                "it out"
            )
        return [{"train": True}, {"train": False}] if "train" in known else [{}]

    def _take(self, split: Any, pictures: Pictures) -> Iterator[int]:
        """The labels of a split, while its images are collected."""
        from PIL import Image

        for position in range(len(split)):
            where = f"sample {position} of {self.dataset}"
            with reading_image(where):
                sample = split[position]
            image, label = sample if isinstance(sample, tuple) and len(sample) == 2 else (None, None)
            if not isinstance(image, Image.Image) or not isinstance(label, int | np.integer) or label < 0:
                raise DataError(
                    f"data.dataset.dataset: must be a data set of images with the numbers of classes, got "
                    f"{shown(sample)} as {where}; name one for classification, or write a data source of your own"
                )
            pictures.add(image, where)
            yield int(label)


def _names(split: Any, classes: int) -> tuple[str, ...]:
    """What torchvision calls the classes; their numbers where it has no names for all."""
    for attribute in ("classes", "categories"):
        found = getattr(split, attribute, None)
        if isinstance(found, Sequence) and len(found) >= classes:
            return tuple(each if isinstance(each, str) else ", ".join(map(str, each)) for each in found)
    return tuple(map(str, range(classes)))
