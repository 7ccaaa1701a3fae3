"""Samples that a study leaves alone, to tune it with."""

from dataclasses import dataclass
from pathlib import Path

import torch

from fedkd.core.seeding import torch_generator
from fedkd.data.datasets.fashion_mnist import FashionMnist
from fedkd.data.source import DataSource, SampleSet


@dataclass(frozen=True)
class UnusedFashionMnist(DataSource):
    """The train samples of Fashion-MNIST that are private under none of some seeds, the last of them as test split.

    Hyper-parameters chosen here have seen no private and no test sample of the study. A seed's private samples are
    those that ``fedkd.data.prepare`` gives that role: the ``private_size`` after the first ``public_size`` in the order
    that the seed draws.
    """

    seeds: tuple[int, ...] = ()
    public_size: int = 1
    private_size: int = 1
    test_size: int = 3000

    def load(self, root: Path) -> SampleSet:
        whole = FashionMnist().load(root)
        unused = torch.ones(len(whole.train_labels), dtype=torch.bool)
        for seed in self.seeds:
            order = torch.randperm(len(unused), generator=torch_generator(seed, purpose="roles"))
            unused[order[self.public_size : self.public_size + self.private_size]] = False
        left = unused.nonzero().flatten()
        # In an order of their own, lest the order of the data set decide which ones are held out.
        left = left[torch.randperm(len(left), generator=torch_generator(0, purpose="unused samples"))]
        train, test = left[: -self.test_size], left[-self.test_size :]
        return SampleSet(
            whole.train_inputs[train],
            whole.train_labels[train],
            whole.train_inputs[test],
            whole.train_labels[test],
            whole.class_names,
        )

    def available(self, root: Path) -> bool:
        return FashionMnist().available(root)
