"""Handwritten digits, 8×8 grey, shipped with scikit-learn."""

import gzip
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedkd.data.source import DataSource, OtherLabels, SampleSet


@dataclass(frozen=True)
class Digits(DataSource):
    """1,797 digits in 10 classes (Alpaydin and Kaynak 1998, the test part of UCI's optdigits); needs no download.

    It has no split of its own: every fifth sample of each class is a test sample. ``parity`` is another label.
    """

    def load(self, root: Path) -> SampleSet:
        pixels, labels = _read()
        # Intensities are whole numbers from 0 to 16.
        images = pixels.mul(255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
        test = torch.zeros(len(labels), dtype=torch.bool)
        for digit in range(10):
            test[(labels == digit).nonzero().flatten()[4::5]] = True
        return SampleSet(
            images[~test],
            labels[~test],
            images[test],
            labels[test],
            tuple("0123456789"),
            other_labels={"parity": OtherLabels(labels[~test] % 2, labels[test] % 2, ("even", "odd"))},
        )

    def available(self, root: Path) -> bool:
        return True


def _read() -> tuple[Tensor, Tensor]:
    """Pixels ``[samples, 64]`` in float64 and labels, straight from scikit-learn's file.

    Its own reader comes with all its other data sets and models, which take a second to import. It is asked where the
    file is not where it usually is.
    """
    spec = importlib.util.find_spec("sklearn")
    places = [] if spec is None else spec.submodule_search_locations or []
    files = [file for index in places if (file := Path(index, "datasets/data/digits.csv.gz")).is_file()]
    if files:
        with gzip.open(files[0], "rt") as lines:
            table = np.loadtxt(lines, delimiter=",")
        return torch.from_numpy(table[:, :-1].copy()), torch.from_numpy(table[:, -1].astype(np.int64))
    from sklearn.datasets import load_digits

    found, target = load_digits(return_X_y=True)
    return torch.from_numpy(found), torch.from_numpy(target).to(torch.int64)
