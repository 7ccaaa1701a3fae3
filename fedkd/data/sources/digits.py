"""Handwritten digits, 8×8 grey, shipped with scikit-learn."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fedkd.data import DataSource, ImageSet


@dataclass(frozen=True)
class Digits(DataSource):
    """1,797 digits in 10 classes (Alpaydin and Kaynak 1998, the test part of UCI's optdigits); needs no download.

    It has no split of its own: every fifth sample of each class is a test sample.
    """

    def load(self, root: Path) -> ImageSet:
        from sklearn.datasets import load_digits

        pixels, target = load_digits(return_X_y=True)
        # Intensities are whole numbers from 0 to 16.
        images = torch.from_numpy(pixels).mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
        labels = torch.from_numpy(target).to(torch.int64)
        test = torch.zeros(len(labels), dtype=torch.bool)
        for digit in range(10):
            test[(labels == digit).nonzero().flatten()[4::5]] = True
        return ImageSet(images[~test], labels[~test], images[test], labels[test], tuple("0123456789"))

    def available(self, root: Path) -> bool:
        return True
