"""Images without any rule, so that all that can be learnt of them is by heart."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fedkd.data.source import DataSource, SampleSet

CLASSES = 8


@dataclass(frozen=True)
class NoiseImages(DataSource):
    """Random 8×8 pixels with random labels in eight classes."""

    train: int = 400

    def load(self, root: Path) -> SampleSet:
        draw = torch.Generator().manual_seed(7)
        images = torch.randint(256, (self.train + 40, 1, 8, 8), generator=draw, dtype=torch.uint8)
        labels = torch.randint(CLASSES, (self.train + 40,), generator=draw)
        return SampleSet(
            images[: self.train],
            labels[: self.train],
            images[self.train :],
            labels[self.train :],
            tuple(map(str, range(CLASSES))),
        )

    def available(self, root: Path) -> bool:
        return True
