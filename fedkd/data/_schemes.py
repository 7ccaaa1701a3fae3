"""The schemes by which samples are divided, as flwr-datasets' partitioners draw them.

The same draws from the same seeds, sample by sample. They are not taken from there because importing that package, with
pandas and pyarrow, takes a second and 200 MB in every process, and a client's share a millisecond.
"""

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]


class TooFewSamplesError(ValueError):
    """A class has fewer samples than clients that should hold some of it."""


def iid(samples: int, clients: int) -> list[Positions]:
    """Equal blocks in the order of the samples; the first ones are larger by one where it does not come out even."""
    return np.array_split(np.arange(samples), clients)


def dirichlet(targets: Positions, clients: int, alpha: float, seed: int) -> list[Positions]:
    """Each class divided by proportions from Dir(alpha) over the clients (Yurochkin et al. 2019, arXiv:1905.12022)."""
    generator = np.random.default_rng(seed)
    shares: list[list[Positions]] = [[] for _ in range(clients)]
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        with np.errstate(invalid="ignore"):
            # A concentration that no float can hold gives no numbers; the caller mends what comes of them.
            cuts = (np.cumsum(generator.dirichlet(np.full(clients, alpha))) * len(members)).astype(np.int64)[:-1]
        for share, part in zip(shares, np.split(members, cuts), strict=True):
            share.append(part)
    return [np.concatenate(share) for share in shares]


def shards(targets: Positions, clients: int, shards_per_client: int, seed: int) -> list[Positions]:
    """Blocks of the samples sorted by label, so many for each client (McMahan et al. 2017, arXiv:1602.05629)."""
    count = clients * shards_per_client
    size = len(targets) // count
    order = np.argsort(targets, kind="stable")
    drawn = np.random.default_rng(seed).permutation(len(targets) // size)[:count]
    blocks = order[: (len(targets) // size) * size].reshape(-1, size)
    return [blocks[mine].ravel() for mine in drawn.reshape(clients, shards_per_client)]


def pathological(targets: Positions, clients: int, classes_per_client: int, seed: int) -> list[Positions]:
    """So many classes for each client (Li et al. 2021, arXiv:2102.02079), the first in turn and the others at random.

    A class is divided equally among those that have it. Raises ``TooFewSamplesError``.
    """
    generator = np.random.default_rng(seed)
    labels = np.unique(targets)
    holders: dict[int, list[int]] = {int(label): [] for label in labels}
    for client in range(clients):
        own = [int(labels[client % len(labels)])]
        while len(own) < classes_per_client:
            if (label := int(generator.choice(labels, size=1)[0])) not in own:
                own.append(label)
        for label in own:
            holders[label].append(client)
    shares: list[list[Positions]] = [[] for _ in range(clients)]
    for label, having in holders.items():
        members = np.flatnonzero(targets == label)
        if len(having) > len(members):
            raise TooFewSamplesError(f"{len(having)} clients for the {len(members)} samples of class {label}")
        if having:
            for client, part in zip(having, np.array_split(members, len(having)), strict=True):
                shares[client].append(part)
    return [np.concatenate(share) for share in shares]
