"""Dividing private samples among clients."""

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.config.data_schema import PartitionConfig
from fedkd.core.errors import DataError
from fedkd.core.seeding import numpy_generator
from fedkd.data._schemes import Positions, TooFewSamplesError, dirichlet, iid, pathological, shards

_PATHOLOGICAL_DRAWS = 32


def partition(
    labels: Int[Tensor, " samples"], clients: int, config: PartitionConfig, seed: int
) -> tuple[Int[Tensor, " share"], ...]:
    """Each client's sorted sample positions; every sample belongs to exactly one client.

    The samples are shuffled by ``seed``, then divided as flwr-datasets does it:

    - ``iid``: equal shares.
    - ``dirichlet``: each class by proportions from Dir(alpha) over the clients (Yurochkin et al. 2019,
      arXiv:1905.12022), without its redrawing until the smallest share is large enough.
    - ``pathological``: ``classes_per_client`` classes each (Li et al. 2021, arXiv:2102.02079); redrawn, up to 32 times,
      while some class is nobody's.
    - ``shards``: ``shards_per_client`` blocks each of the label-sorted samples (McMahan et al. 2017, arXiv:1602.05629).
    - ``quantity``: all classes alike, sizes by proportions from Dir(alpha).

    Two rules then mend the draw. A sample that it leaves over (blocks that do not come out even, a class that is
    nobody's) goes to the smallest client that holds its class, or the smallest of all where none does. A client below
    ``min_samples`` is topped up, sample by sample, from whichever client is the largest; ties go to the lower id.

    Raises ``DataError`` when there are too few samples or classes for what is asked.
    """
    targets: Positions = labels.numpy().astype(np.int64)
    _check(targets, clients, config)
    generator = numpy_generator(seed, purpose="partition")
    order = generator.permutation(len(targets))
    shares = _draw(targets[order], clients, config, generator)
    _deal_leftovers(shares, targets[order])
    _top_up(shares, config.min_samples)
    return tuple(torch.from_numpy(np.sort(order[np.asarray(share, dtype=np.int64)])) for share in shares)


def _check(targets: Positions, clients: int, config: PartitionConfig) -> None:
    samples, classes = len(targets), len(np.unique(targets))
    if samples < clients * config.min_samples:
        raise DataError(
            f"clients.count: {clients} clients of at least data.partition.min_samples = {config.min_samples} need "
            f"{clients * config.min_samples} private samples, there are {samples}; use fewer clients, lower "
            "data.partition.min_samples or raise data.private_size"
        )
    if config.scheme == "pathological" and config.classes_per_client > classes:
        raise DataError(
            f"data.partition.classes_per_client: must not exceed the {classes} classes among the private samples, "
            f"got {config.classes_per_client}; lower it"
        )
    if config.scheme == "shards" and samples < clients * config.shards_per_client:
        raise DataError(
            f"data.partition.shards_per_client: {clients} clients of {config.shards_per_client} shards need "
            f"{clients * config.shards_per_client} private samples, there are {samples}; lower it, or clients.count"
        )


def _draw(targets: Positions, clients: int, config: PartitionConfig, generator: np.random.Generator) -> list[list[int]]:
    seed = int(generator.integers(2**31))
    match config.scheme:
        case "iid":
            shares = iid(len(targets), clients)
        case "dirichlet":
            shares = dirichlet(targets, clients, config.alpha, seed)
        case "quantity":
            # One class for all: the same draw, but of sizes.
            shares = dirichlet(np.zeros_like(targets), clients, config.alpha, seed)
        case "shards":
            shares = shards(targets, clients, config.shards_per_client, seed)
        case "pathological":
            shares = _draw_pathological(targets, clients, config.classes_per_client, generator)
    return [share.tolist() for share in shares]


def _draw_pathological(
    targets: Positions, clients: int, classes_per_client: int, generator: np.random.Generator
) -> list[Positions]:
    shares: list[Positions] = []
    for _ in range(_PATHOLOGICAL_DRAWS):
        try:
            shares = pathological(targets, clients, classes_per_client, int(generator.integers(2**31)))
        except TooFewSamplesError as error:
            raise DataError(
                f"data.partition.classes_per_client: {clients} clients of {classes_per_client} classes need more "
                f"samples of a class than there are ({len(targets)} private samples in all); lower it or "
                "clients.count, or raise data.private_size"
            ) from error
        if sum(map(len, shares)) == len(targets):
            break
    return shares


def _deal_leftovers(shares: list[list[int]], targets: Positions) -> None:
    left = np.ones(len(targets), dtype=bool)
    held = np.zeros((len(shares), int(targets.max()) + 1), dtype=bool)
    for client, share in enumerate(shares):
        left[share] = False
        held[client, targets[share]] = True
    sizes = np.array([len(share) for share in shares])
    for position in np.flatnonzero(left):
        holders = np.flatnonzero(held[:, targets[position]])
        choice = holders if len(holders) else np.arange(len(shares))
        client = int(choice[sizes[choice].argmin()])
        shares[client].append(int(position))
        sizes[client] += 1
        held[client, targets[position]] = True


def _top_up(shares: Sequence[list[int]], least: int) -> None:
    sizes = [len(share) for share in shares]
    # The largest first, ties by the lower id; an entry counts while it says how large its client is.
    largest = [(-size, client) for client, size in enumerate(sizes)]
    heapq.heapify(largest)
    for client in [client for client, size in enumerate(sizes) if size < least]:
        while sizes[client] < least:
            size, giver = heapq.heappop(largest)
            if -size != sizes[giver]:
                continue
            shares[client].append(shares[giver].pop())
            sizes[giver] -= 1
            sizes[client] += 1
            heapq.heappush(largest, (-sizes[giver], giver))
