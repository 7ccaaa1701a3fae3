"""SVHN: house numbers, 32×32 in colour."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fedkd.data.datasets._torchvision import have, open_splits
from fedkd.data.source import DataSource, SampleSet

_FILES = ("train_32x32.mat", "test_32x32.mat")


@dataclass(frozen=True)
class Svhn(DataSource):
    """73,257 train and 26,032 test digits in 10 classes (Netzer et al. 2011), without the extra split."""

    def load(self, root: Path) -> SampleSet:
        train, test = open_splits("svhn", "SVHN", root, _FILES, train={"split": "train"}, test={"split": "test"})
        train_inputs, test_inputs = (torch.from_numpy(split.data) for split in (train, test))
        train_labels, test_labels = (torch.from_numpy(split.labels).long() for split in (train, test))
        return SampleSet(train_inputs, train_labels, test_inputs, test_labels, tuple("0123456789"))

    def available(self, root: Path) -> bool:
        return have(root, _FILES)
