"""CIFAR-10: photographs, 32×32 in colour."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fedkd.data.datasets._torchvision import have, open_splits
from fedkd.data.source import DataSource, SampleSet

_FILES = (*(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)), "cifar-10-batches-py/test_batch")


@dataclass(frozen=True)
class Cifar10(DataSource):
    """50,000 train and 10,000 test images in 10 classes (Krizhevsky 2009)."""

    def load(self, root: Path) -> SampleSet:
        train, test = open_splits("cifar10", "CIFAR10", root, _FILES, train={"train": True}, test={"train": False})
        train_inputs, test_inputs = (torch.from_numpy(split.data).permute(0, 3, 1, 2) for split in (train, test))
        train_labels, test_labels = (torch.tensor(split.targets) for split in (train, test))
        return SampleSet(train_inputs, train_labels, test_inputs, test_labels, tuple(train.classes))

    def available(self, root: Path) -> bool:
        return have(root, _FILES)
