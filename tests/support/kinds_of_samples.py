"""Small data sets of samples that are no images."""

from pathlib import Path

import torch

from fedkd.data import DataSource, SampleSet

CLASSES = ("a", "b", "c")


class Rows(DataSource):
    """Rows of four numbers."""

    def load(self, root: Path) -> SampleSet:
        labels = torch.arange(240) % 3
        inputs = torch.randn(240, 4, generator=torch.Generator().manual_seed(0)) + 2 * labels[:, None]
        return SampleSet(inputs[:180], labels[:180], inputs[180:], labels[180:], CLASSES)


class Words(DataSource):
    """Six tokens, of which those of a class begin with its own."""

    def load(self, root: Path) -> SampleSet:
        labels = torch.arange(240) % 3
        inputs = torch.randint(4, 9, (240, 6), generator=torch.Generator().manual_seed(0))
        inputs[:, 0] = labels + 1
        inputs[::2, 4:] = 0
        return SampleSet(inputs[:180], labels[:180], inputs[180:], labels[180:], CLASSES)
