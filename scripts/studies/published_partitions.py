"""Class counts of the clients in published settings, drawn as their authors' code draws them, with its seeds.

    python scripts/published_partitions.py [--out configs/reproductions]

What NumPy's old global generator gives for a seed is the same in all its versions, so that a published partition can be
made again, client by client and class by class. A share of it is kept, for no client may have samples of the test split
here; which samples of a class are whose, every run's seed draws.

- ``pfllib_pathological``, ``pfllib_practical``: PFLlib (Zhang et al. 2025, arXiv 2312.04992), Fashion-MNIST, 20 clients
  with two classes each, and by Dirichlet 0.1; seed 1, 7,000 images of each class (both splits together).
- ``fedcache``: FedCache (Wu et al. 2024, arXiv 2308.07816), Fashion-MNIST, 20 clients by Dirichlet 1; seed k for class
  k, 6,000 images of each class.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

CLIENTS, CLASSES = 20, 10
KEPT = 3000
"""Samples of each class that the clients have here, all together."""

Counts = npt.NDArray[np.int64]


def pfllib_pathological() -> Counts:
    """[clients, classes]: a class goes to the first four clients that have fewer than two; the last gets the rest."""
    generator, samples, holders = np.random.RandomState(1), 7000, 4
    counts = np.zeros((CLIENTS, CLASSES), dtype=np.int64)
    for label in range(CLASSES):
        having = np.flatnonzero((counts > 0).sum(axis=1) < 2)[:holders]
        share = samples / holders
        drawn = generator.randint(int(share / 10), int(share), holders - 1)
        counts[having, label] = [*drawn, samples - drawn.sum()]
    return counts


def pfllib_practical() -> Counts:
    """[clients, classes] by Dirichlet 0.1; a client that has its twentieth of all samples gets no more."""
    generator, samples = np.random.RandomState(1), 7000
    counts = np.zeros((CLIENTS, CLASSES), dtype=np.int64)
    for label in range(CLASSES):
        generator.shuffle(np.arange(samples))
        counts[:, label] = _dealt(generator, 0.1, samples, counts)
    return counts


def fedcache() -> Counts:
    """[clients, classes] by Dirichlet 1, a seed for each class."""
    samples, counts = 6000, np.zeros((CLIENTS, CLASSES), dtype=np.int64)
    for label in range(CLASSES):
        counts[:, label] = _dealt(np.random.RandomState(label), 1.0, samples, counts)
    return counts


def _dealt(generator: np.random.RandomState, alpha: float, samples: int, counts: Counts) -> Counts:
    room = counts.sum(axis=1) < samples * CLASSES / CLIENTS
    shares = generator.dirichlet(np.repeat(alpha, CLIENTS)) * room
    cuts = (np.cumsum(shares / shares.sum()) * samples).astype(np.int64)[:-1]
    return np.diff(cuts, prepend=0, append=samples)


PARTITIONS: Mapping[str, Callable[[], Counts]] = {
    "pfllib_pathological": pfllib_pathological,
    "pfllib_practical": pfllib_practical,
    "fedcache": fedcache,
}


def text(name: str) -> str:
    """The file of a partition, as ``data.partition.path`` reads it."""
    counts = PARTITIONS[name]()
    kept = counts * KEPT // counts.sum(axis=0)
    rows = ",\n".join(f"  {json.dumps(row)}" for row in kept.tolist())
    return f'{{"class_counts": [\n{rows}\n]}}\n'


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("configs/reproductions"), help="folder for the files")
    folder: Path = parser.parse_args(argv).out
    for name in PARTITIONS:
        (folder / f"{name}.json").write_text(text(name), encoding="utf-8")
    return 0
