"""Fashion-MNIST, or another data set, in which some clients hold all private samples of a class."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fedkd.config.data_schema import PartitionConfig
from fedkd.core import plugins
from fedkd.data.partition import partition
from fedkd.data.source import DataSource, SampleSet


@dataclass(frozen=True)
class HeldClass(DataSource):
    """A data set that says whose each sample is: a Dirichlet draw, but for one class, which ``holders`` share evenly.

    With ``data.partition.scheme: natural`` every client has the samples that are its own here. The public set has
    samples of all classes as ever.
    """

    base: str = "fashion_mnist"
    clients: int = 10
    holders: tuple[int, ...] = (0,)
    held: int = 0
    alpha: float = 1.0
    seed: int = 0

    def load(self, root: Path) -> SampleSet:
        whole = self._base().load(root)
        shares = partition(whole.train_labels, self.clients, PartitionConfig(alpha=self.alpha), self.seed)
        owners = torch.empty_like(whole.train_labels)
        for client, share in enumerate(shares):
            owners[share] = client
        held = (whole.train_labels == self.held).nonzero().flatten()
        owners[held] = torch.tensor(self.holders)[torch.arange(len(held)) % len(self.holders)]
        return replace(whole, train_clients=owners, client_names=tuple(f"client {at}" for at in range(self.clients)))

    def available(self, root: Path) -> bool:
        return self._base().available(root)

    def _base(self) -> DataSource:
        source: DataSource = plugins.build(plugins.DATASET, self.base)
        return source
