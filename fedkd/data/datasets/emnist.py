"""EMNIST: handwritten letters and digits, 28×28 grey."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedkd.data.datasets._torchvision import have, mnist_files, open_splits
from fedkd.data.source import DataSource, SampleSet


@dataclass(frozen=True)
class Emnist(DataSource):
    """Letters and digits of the NIST forms (Cohen et al. 2017, arXiv:1702.05373).

    ``split`` is one of the authors' six; ``balanced`` has 47 classes, 112,800 train and 18,800 test samples.
    """

    split: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = "balanced"

    def load(self, root: Path) -> SampleSet:
        train, test = open_splits(
            "emnist",
            "EMNIST",
            root,
            self._files,
            train={"split": self.split, "train": True},
            test={"split": self.split, "train": False},
        )
        # The letters split numbers its classes from 1 and calls class 0 "N/A".
        first = 1 if self.split == "letters" else 0
        # The files hold the images with rows and columns exchanged.
        return SampleSet(
            train.data.transpose(1, 2).unsqueeze(1),
            train.targets - first,
            test.data.transpose(1, 2).unsqueeze(1),
            test.targets - first,
            tuple(train.classes[first:]),
        )

    def available(self, root: Path) -> bool:
        return have(root, self._files)

    @property
    def _files(self) -> tuple[str, ...]:
        return mnist_files("EMNIST", (f"emnist-{self.split}-train", f"emnist-{self.split}-test"))
