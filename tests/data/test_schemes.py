"""The schemes against the package whose draws they repeat."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.data._schemes import Positions, TooFewSamplesError, dirichlet, iid, pathological, shards


def targets_of(samples: int, classes: int, seed: int) -> Positions:
    return np.random.default_rng(seed).integers(classes, size=samples)


def theirs(partitioner: Any, targets: Positions) -> list[list[int]]:
    from datasets import Dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        partitioner.dataset = Dataset.from_dict({"label": targets, "position": np.arange(len(targets))})
        parts = [partitioner.load_partition(client) for client in range(partitioner.num_partitions)]
        return [part.with_format("numpy")["position"][:].tolist() for part in parts]


def as_lists(shares: list[Positions]) -> list[list[int]]:
    return [share.tolist() for share in shares]


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    clients=st.integers(1, 12),
    spare=st.integers(0, 80),
    classes=st.integers(1, 6),
    parts=st.integers(1, 3),
    alpha=st.sampled_from([1e-3, 0.1, 1.0, 100.0]),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_scheme_draws_what_flwr_datasets_draws(
    clients: int, spare: int, classes: int, parts: int, alpha: float, seed: int
) -> None:
    from flwr_datasets import partitioner as flower

    targets = targets_of(clients * parts + spare, classes, seed)
    samples = len(targets)
    assert as_lists(iid(samples, clients)) == theirs(flower.IidPartitioner(clients), targets)

    draw: Any = flower.DirichletPartitioner(clients, "label", alpha, min_partition_size=0, shuffle=False, seed=seed)
    assert as_lists(dirichlet(targets, clients, alpha, seed)) == theirs(draw, targets)

    draw = flower.ShardPartitioner(clients, "label", num_shards_per_partition=parts, shuffle=False, seed=seed)
    assert as_lists(shards(targets, clients, parts, seed)) == theirs(draw, targets)

    own = min(parts, len(np.unique(targets)))
    draw = flower.PathologicalPartitioner(
        clients, "label", own, class_assignment_mode="first-deterministic", shuffle=False, seed=seed
    )
    try:
        expected = theirs(draw, targets)
    except ValueError:
        with pytest.raises(TooFewSamplesError, match="samples of class"):
            pathological(targets, clients, own, seed)
    else:
        assert as_lists(pathological(targets, clients, own, seed)) == expected


def test_shards_are_blocks_of_the_sorted_samples() -> None:
    # Sorted by label the positions are 1 3 | 0 2 | 4 5, three shards of two.
    targets = np.array([1, 0, 1, 0, 2, 2])
    assert sorted(map(tuple, as_lists(shards(targets, 3, 1, seed=0)))) == [(0, 2), (1, 3), (4, 5)]
