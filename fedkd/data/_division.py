"""Which samples of the train split are public, which private, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.config.given import PARTITION, PARTITION_BYTES, PARTITION_REMEDY
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError
from fedkd.core.given_files import read_given
from fedkd.core.seeding import numpy_generator, torch_generator
from fedkd.core.wording import cut
from fedkd.data._given import GivenPartition, read_partition
from fedkd.data.partition import partition
from fedkd.data.source import SampleSet

ROLES = "roles"
"""The purpose for which the seed shuffles samples before they are given roles."""

_NAMED = 5
"""Most clients that a message names."""


@dataclass(frozen=True)
class Division:
    """Positions in the train split, in the seed's shuffled order: ``public`` (in a file's, where it gives one; none
    where another data set is public), ``private``, and ``unused`` ones without a role, fit to stand for private ones.

    ``shares`` are each client's sorted positions in ``private``; none of private samples that are at home. Where all
    are ``listed``, the private ones are in the order of a file, and the public ones in that which the seed gives a data
    set of their own: as they are on machines that have nothing else.
    """

    public: Int[Tensor, " public"]
    private: Int[Tensor, " private"]
    unused: Int[Tensor, " unused"]
    shares: tuple[Int[Tensor, "_"], ...]
    listed: bool = False


def divide(config: ExperimentConfig, source: SampleSet, public: int) -> Division:
    """The roles of the train split's samples, ``public`` of which are public; a function of the configuration alone.

    Raises ``ConfigError`` for a given or natural partition that the samples do not allow.
    """
    order = shuffled(len(source.train_labels), config.seed, ROLES)
    match config.data.partition.scheme:
        case "given":
            return _given(config, source, order, public)
        case "natural":
            return _natural(config, source, order, public)
        case "at_home":
            return Division(order[:public], order[:0], order[public:], ())
        case _:
            available, size = order[public:], config.data.private_size
            private = available[:size]
            shares = partition(source.train_labels[private], config.clients.count, config.data.partition, config.seed)
            return Division(order[:public], private, available[len(private) :], shares)


def shuffled(count: int, seed: int, purpose: str) -> Int[Tensor, " samples"]:
    """All positions, in the order that the seed gives them for a purpose."""
    return torch.randperm(count, generator=torch_generator(seed, purpose=purpose))


def _given(config: ExperimentConfig, source: SampleSet, order: Tensor, public: int) -> Division:
    rule, samples = config.data.partition, len(source.train_labels)
    file = rule.path or ""
    content = read_given(PARTITION, file, most_bytes=PARTITION_BYTES, remedy=PARTITION_REMEDY, digest=rule.sha256)
    given = read_partition(content, file, source.class_names, samples)
    where = f"{PARTITION}: {cut(file)}"
    if given.count != config.clients.count:
        raise ConfigError(
            [
                f"clients.count: must be the number of clients in data.partition.path = {cut(file)}, which has "
                f"{given.count}, got {config.clients.count}; set clients.count={given.count}, or name another file"
            ]
        )
    clients = given.clients
    if given.class_counts is not None:
        clients = _by_class(given.class_counts, source, order[public:], where)
    _check_sizes(config, [len(client) for client in clients], where)
    owners = torch.full((samples,), -1)
    for client, positions in enumerate(clients):
        owners[torch.from_numpy(positions)] = client
    others = order[owners[order] < 0]
    chosen = _public_of(config, given, others, public, where)
    unused = others[~torch.isin(others, chosen)]
    private = torch.from_numpy(np.concatenate(clients)) if given.listed else order[owners[order] >= 0]
    return Division(chosen, private, unused, _shares(owners[private], len(clients)), listed=given.listed)


def _public_of(config: ExperimentConfig, given: GivenPartition, others: Tensor, public: int, where: str) -> Tensor:
    if given.public is None or given.class_counts is not None:
        if len(others) < public:
            raise ConfigError(
                [
                    f"data.public.size: must not exceed the {len(others)} samples that are no client's in {where}, got "
                    f"{public}; lower it, or give the clients fewer samples"
                ]
            )
        return others[:public]
    if config.data.public.dataset is not None:
        raise ConfigError(
            [
                f"{where} names public samples, and data.public.dataset other ones, got "
                f"{config.data.public.dataset.name!r}; set data.public.dataset=null, or leave public out of the file"
            ]
        )
    if len(given.public) < public:
        raise ConfigError(
            [
                f"data.public.size: must not exceed the {len(given.public)} public samples in {where}, got {public}; "
                "lower it, or leave public out of the file to draw them from what is no client's"
            ]
        )
    named = torch.from_numpy(given.public)
    return (named[shuffled(len(named), config.seed, ROLES)] if given.listed else named)[:public]


def _by_class(counts: np.ndarray, source: SampleSet, available: Tensor, where: str) -> tuple[np.ndarray, ...]:
    """Each client's positions: of every class the next ones in the seed's order that are not public."""
    labels = source.train_labels[available]
    rows: list[list[np.ndarray]] = [[] for _ in counts]
    for label, name in enumerate(source.class_names):
        members = available[labels == label].numpy()
        wanted = int(counts[:, label].sum())
        if wanted > len(members):
            raise ConfigError(
                [
                    f"{where}: the clients have {wanted} samples of class {cut(name)} together, and of those that are "
                    f"not public there are {len(members)}; lower the counts, or data.public.size"
                ]
            )
        for row, part in zip(rows, np.split(members[:wanted], np.cumsum(counts[:, label])[:-1]), strict=True):
            row.append(part)
    return tuple(np.concatenate(row) for row in rows)


def _natural(config: ExperimentConfig, source: SampleSet, order: Tensor, public: int) -> Division:
    if source.train_clients is None:
        raise ConfigError(
            [
                f"data.partition.scheme: natural divides samples by whose they are, and {config.data.dataset.name} "
                "does not say; name the column of its files that does (client: COLUMN, see `fedkd list datasets`), or "
                "choose another scheme"
            ]
        )
    private = order[public:][: config.data.private_size]
    whose = source.train_clients[private]
    present, count = whose.unique(), config.clients.count
    if len(present) < count:
        raise ConfigError(
            [
                f"clients.count: must not exceed the {len(present)} clients that the {len(private)} private samples of "
                f"{config.data.dataset.name} have by nature, got {count}; lower it, or make more samples private"
            ]
        )
    draw = numpy_generator(config.seed, purpose="natural clients")
    chosen = torch.from_numpy(np.sort(draw.choice(present.numpy(), size=count, replace=False)))
    private = private[torch.isin(whose, chosen)]
    owners = torch.searchsorted(chosen, source.train_clients[private])
    sizes = torch.bincount(owners, minlength=count).tolist()
    _check_sizes(
        config,
        sizes,
        "data.partition.scheme: natural",
        [source.client_names[client] for client in chosen.tolist()],
    )
    # What other people's samples are like says whose they are, so that they stand for nobody's.
    return Division(order[:public], private, order[:0], _shares(owners, count))


def _check_sizes(
    config: ExperimentConfig, sizes: Sequence[int], where: str, names: Sequence[str] | None = None
) -> None:
    least = config.data.partition.min_samples
    small = [client for client, size in enumerate(sizes) if size < least]
    if small:
        named = ", ".join(
            f"{client if names is None else cut(names[client])} ({sizes[client]})" for client in small[:_NAMED]
        )
        more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
        whose = "clients" if names is not None else "clients (counted from 0)"
        raise ConfigError(
            [
                f"{where}: every client must have data.partition.min_samples = {least} private samples, and {whose} "
                f"with their samples are {named}{more}; none are moved between them: lower data.partition.min_samples "
                "(at least 1), make more samples private, or leave these clients out of the file"
            ]
        )
    size = config.data.private_size
    if names is None and size is not None and size != sum(sizes):
        raise ConfigError(
            [
                f"data.private_size: must be null or the {sum(sizes)} samples that the clients in "
                f"{where.partition(': ')[2]} have together, got {size}; set it to null"
            ]
        )


def _shares(owners: Tensor, clients: int) -> tuple[Tensor, ...]:
    order = owners.argsort(stable=True)
    shares: tuple[Tensor, ...] = order.split(torch.bincount(owners, minlength=clients).tolist())
    return shares
