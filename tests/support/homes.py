"""Deployments in this process whose nodes have private data of their own, and simulations of the same split."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from deployments.parts import divide

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.engines.building import over_grid
from fedkd.results.records import Summary
from tests.support.local_grid import LocalGrid

NODES = 3

TINY = (
    "rounds=2",
    f"clients.count={NODES}",
    "clients.epochs=1",
    "data.public.size=40",
    "data.public.labelled=20",
    "student.model={name: mlp, hidden: [8]}",
    "distillation.steps=3",
    "controls=[]",
    "engine.kind=inline",
)
"""Three clients with 90 private samples together, skewed."""

MOST = "clients.max_examples=80"


def changed(*overrides: str) -> list[str]:
    """The overrides, of which a later one replaces an earlier one of the same key."""
    return list({each.partition("=")[0]: each for each in overrides}.values())


@dataclass
class Homes:
    """``folder`` has ``parts``, which are the samples of the server and of each node, and what runs leave."""

    folder: Path
    given: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What single nodes are told besides, or instead; None: not that."""

    @classmethod
    def divided(cls, folder: Path) -> "Homes":
        divide(load_config("quickstart", [*TINY, "data.private_size=90"]), folder / "parts")
        return cls(folder)

    def config(self, *changes: str) -> ExperimentConfig:
        dataset = f"data.dataset={{name: npz, path: {self.folder}/parts/server}}"
        return load_config("quickstart", changed(*TINY, MOST, dataset, "data.partition.scheme=at_home", *changes))

    def simulated(self, *changes: str, out: str = "simulated") -> Summary:
        """The same split with all data in one place."""
        partition = f"data.partition={{scheme: given, path: {self.folder}/parts/partition.json}}"
        config = load_config("quickstart", changed(*TINY, MOST, partition, *changes))
        return run_experiment(config, self.folder / out).summary

    def grid(self) -> LocalGrid:
        nodes: list[dict[str, Any]] = [
            {
                "partition-id": node,
                "num-partitions": NODES,
                "state-dir": str(self.folder / f"state{node}"),
                "private-data": str(self.folder / f"parts/node{node}"),
            }
            | self.given.get(node, {})
            for node in range(NODES)
        ]
        nodes = [{key: value for key, value in node.items() if value is not None} for node in nodes]
        return LocalGrid(NODES, node_configs=nodes)

    def deployed(self, *changes: str, grid: LocalGrid | None = None, out: str = "deployed", **options: Any) -> Summary:
        engine = over_grid(self.grid() if grid is None else grid, join=1.0)
        return run_experiment(self.config(*changes), self.folder / out, engine=engine, **options).summary

    def samples(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """The private images and labels of a node."""
        where = self.folder / f"parts/node{node}"
        return np.load(where / "x.npy"), np.load(where / "y.npy")

    def secrets(self, *nodes: int) -> dict[bytes, str]:
        """What nobody but the nodes (none: all) is to have of their private data: what it is, by its bytes."""
        found: dict[bytes, str] = {}
        for node in nodes or range(NODES):
            inputs, labels = self.samples(node)
            for row in inputs:
                found |= {row.tobytes(): f"a sample of node {node}"}
                found |= {row.astype(np.float32).tobytes(): f"a sample of node {node} in floats"}
            for kind in (np.int64, np.int32, np.int16, np.uint8):
                found |= {labels[:16].astype(kind).tobytes(): f"labels of node {node}"}
        return found

    def give(self, node: int, name: str, inputs: np.ndarray, labels: np.ndarray) -> None:
        """Give a node other private data, in a folder of that name."""
        where = self.folder / name
        where.mkdir()
        np.save(where / "x.npy", inputs)
        np.save(where / "y.npy", labels)
        self.given[node] = {"private-data": str(where)}


def told(secrets: dict[bytes, str], content: bytes) -> list[str]:
    """Which of the secrets are in ``content``."""
    return sorted({name for each, name in secrets.items() if each in content})
