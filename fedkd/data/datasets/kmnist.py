"""Kuzushiji-MNIST: cursive Japanese characters, 28×28 grey."""

from dataclasses import dataclass
from pathlib import Path

from fedkd.data.datasets._torchvision import have, mnist_files, open_splits
from fedkd.data.source import DataSource, SampleSet

_FILES = mnist_files("KMNIST")


@dataclass(frozen=True)
class Kmnist(DataSource):
    """60,000 train and 10,000 test characters in 10 classes (Clanuwat et al. 2018, arXiv:1812.01718)."""

    def load(self, root: Path) -> SampleSet:
        train, test = open_splits("kmnist", "KMNIST", root, _FILES, train={"train": True}, test={"train": False})
        return SampleSet(
            train.data.unsqueeze(1), train.targets, test.data.unsqueeze(1), test.targets, tuple(train.classes)
        )

    def available(self, root: Path) -> bool:
        return have(root, _FILES)
