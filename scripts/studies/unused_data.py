"""Samples that a study leaves alone, to tune it with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.seeding import torch_generator
from fedkd.data.source import DataSource, SampleSet


@dataclass(frozen=True)
class UnusedSamples(DataSource):
    """The train samples of a data set that are private under none of some seeds, the last of them as test split.

    Hyper-parameters chosen here have seen no private and no test sample of the study. A seed's private samples are
    those that ``fedkd.data.prepare`` gives that role: the ``private_size`` after the first ``public_size`` in the order
    that the seed draws.
    """

    dataset: str = "fashion_mnist"
    seeds: tuple[int, ...] = ()
    public_size: int = 1
    private_size: int = 1
    test_size: int = 3000

    def load(self, root: Path) -> SampleSet:
        whole = self._source.load(root)
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
        return self._source.available(root)

    @property
    def _source(self) -> DataSource:
        source: DataSource = plugins.build(plugins.DATASET, self.dataset, {})
        return source


def unused_by(reported: ExperimentConfig, seeds: Sequence[int], test_size: int = 3000) -> dict[str, Any]:
    """``data.dataset`` of an experiment on the samples that the reported one leaves alone under these seeds.

    The reported one must have a ``data.private_size``.
    """
    return {
        "name": f"{__name__}:{UnusedSamples.__name__}",
        "dataset": reported.data.dataset.name,
        "seeds": list(seeds),
        "public_size": reported.data.public.size,
        "private_size": reported.data.private_size,
        "test_size": test_size,
    }
