"""MNIST: handwritten digits, 28×28 grey."""

from dataclasses import dataclass
from pathlib import Path

from fedkd.data.datasets._torchvision import have, mnist_files, open_splits
from fedkd.data.source import DataSource, SampleSet

_FILES = mnist_files("MNIST")


@dataclass(frozen=True)
class Mnist(DataSource):
    """60,000 train and 10,000 test digits in 10 classes (LeCun et al. 1998)."""

    def load(self, root: Path) -> SampleSet:
        train, test = open_splits("mnist", "MNIST", root, _FILES, train={"train": True}, test={"train": False})
        return SampleSet(
            train.data.unsqueeze(1), train.targets, test.data.unsqueeze(1), test.targets, tuple("0123456789")
        )

    def available(self, root: Path) -> bool:
        return have(root, _FILES)
