"""Images in folders, one folder for each class."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fedkd.core.errors import DataError
from fedkd.core.wording import cut
from fedkd.data.reading.files import folder_at, place, places
from fedkd.data.reading.labels import TestShare, class_numbers, divide, one_after_the_other, sample_set
from fedkd.data.reading.pictures import Channels, Size, read_pictures
from fedkd.data.source import DataSource, SampleSet


@dataclass(frozen=True)
class ImageFolder(DataSource):
    """Images in one folder for each class, of any format that Pillow reads.

    ``path`` holds these folders, or with ``clients`` one for each client, which holds them. ``size`` ([height, width])
    resizes the images, ``channels`` makes them grey (1) or coloured (3; null: coloured if one is). ``test`` is another
    such folder; without it, ``test_share`` of each class is for testing.
    """

    path: str
    clients: bool = False
    size: Size | None = None
    channels: Channels | None = None
    test: str | None = None
    test_share: TestShare = 0.2

    def load(self, root: Path) -> SampleSet:
        folder = folder_at("path", self.path)
        train = list(_files(folder, "path", self.clients))
        test = [] if self.test is None else list(_files(folder_at("test", self.test), "test", self.clients))
        names, labels, test_labels = class_numbers(
            "path" if self.test is None else "test",
            np.array([name for _, name, _ in train], dtype=object),
            np.array([name for _, name, _ in test], dtype=object) if test else None,
            str(folder),
        )
        images = read_pictures("path", [file for file, _, _ in (*train, *test)], self.size, self.channels)
        rows = one_after_the_other(len(train), len(test)) if test else divide(labels, self.test_share)
        return sample_set(
            (images[rows[0]], images[rows[1]]),
            rows,
            torch.cat([labels, test_labels]),
            names,
            clients=np.array([client for _, _, client in (*train, *test)], dtype=object) if self.clients else None,
        )

    def available(self, root: Path) -> bool:
        return place("path", self.path).is_dir()

    def files(self) -> Iterable[Path]:
        return [path for folder in places(path=self.path, test=self.test) for path in sorted(folder.rglob("*"))]


def _files(folder: Path, option: str, clients: bool) -> Iterator[tuple[Path, str, str]]:
    """Every image with its class and its client, in the order of their names."""
    for owner in _folders(folder, option, "client" if clients else "class") if clients else [folder]:
        for kind in _folders(owner, option, "class"):
            inside = _inside(kind)
            files = [path for path in inside if path.is_file()]
            if deeper := [path for path in inside if path.is_dir()]:
                remedy = (
                    "take it away" if clients else "set data.dataset.clients=true if there is a folder for each client"
                )
                raise DataError(
                    f"data.dataset.{option}: a class's folder must hold images, got the folder {deeper[0]}; {remedy}"
                )
            if not files:
                raise DataError(
                    f"data.dataset.{option}: the folder {kind} of a class holds no image; add some, or take it away"
                )
            yield from ((file, kind.name, owner.name) for file in files)


def _folders(folder: Path, option: str, what: str) -> list[Path]:
    found = [path for path in _inside(folder) if path.is_dir()]
    if not found:
        there = cut(", ".join(path.name for path in _inside(folder))) or "nothing"
        raise DataError(
            f"data.dataset.{option}: must have one folder for each {what} in {folder}, got {there}; put the samples "
            f"into folders that are named like their {what}"
        )
    return found


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
