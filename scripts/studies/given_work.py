"""The files that a configuration is given: ``data.partition.path`` and ``student.init``.

Made here by NumPy and PyTorch alone, as other code would make them: what fedkd draws itself has no part in them.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.errors import ConfigError
from fedkd.data import DataSource, SampleSet, resolve_root
from fedkd.models import Architecture

Positions = npt.NDArray[np.int64]


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and write both files; raises ``FedkdError``."""
    parser = argparse.ArgumentParser(description="Write the partition and the weights that a configuration is given.")
    parser.add_argument("config", help="a YAML file that names both files")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the file")
    parser.add_argument("--samples", type=int, default=30_000, help="private samples over all clients (30000)")
    parser.add_argument("--alpha", type=float, default=0.1, help="concentration of the Dirichlet draw (0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of both draws (0)")
    arguments = parser.parse_intermixed_args(argv)
    config = load_config(arguments.config, arguments.overrides)
    for path in write_files(config, samples=arguments.samples, alpha=arguments.alpha, seed=arguments.seed):
        print(path)
    return 0


def write_files(config: ExperimentConfig, *, samples: int, alpha: float, seed: int) -> tuple[Path, Path]:
    """Write the partition of so many private ``samples``, and the weights, where ``config`` looks for them.

    Raises ``ConfigError`` where it names no such files, or there are too few samples.
    """
    rule, student = config.data.partition, config.student
    if rule.path is None or student.init is None:
        raise ConfigError(
            ["data.partition.path, student.init: must name the files to write, got null; see configs/benchmarks/"]
        )
    dataset = config.data.dataset
    source: DataSource = plugins.build(plugins.DATASET, dataset.name, dataset.options)
    found = source.load(resolve_root(config.data.root))
    clients, public = divided(
        found.train_labels.numpy(), config.clients.count, samples, rule.min_samples, alpha=alpha, seed=seed
    )
    if len(public) < config.data.public.size:
        raise ConfigError(
            [
                f"data.public.size: must not exceed the {len(public)} samples that are not private, got "
                f"{config.data.public.size}; lower it, or --samples"
            ]
        )
    content = {"clients": clients, "public": public[: config.data.public.size]}
    partition, weights = Path(rule.path).expanduser(), Path(student.init).expanduser()
    for path in (partition, weights):
        path.parent.mkdir(parents=True, exist_ok=True)
    partition.write_text(json.dumps(content), encoding="utf-8")
    torch.save(initial_weights(config, found, seed), weights)
    return partition, weights


def divided(
    labels: Positions, clients: int, samples: int, least: int, *, alpha: float, seed: int
) -> tuple[list[list[int]], list[int]]:
    """The positions of each client's samples, ``samples`` in all, and the others in the order of the draw.

    Each class is dealt out by proportions from Dir(``alpha``); a client with fewer than ``least`` gets some of the
    largest one's. Raises ``ConfigError`` when there are too few samples.
    """
    if not clients * least <= samples <= len(labels):
        raise ConfigError(
            [
                f"--samples: must be at least {clients * least}, {least} for each of {clients} clients, and at most "
                f"the {len(labels)} train samples, got {samples}; choose another number, or clients.count"
            ]
        )
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(labels))
    private, others = order[:samples], order[samples:]
    shares: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        members = private[labels[private] == label]
        cuts = (np.cumsum(draw.dirichlet(np.full(clients, alpha)))[:-1] * len(members)).astype(np.int64)
        for share, part in zip(shares, np.split(members, cuts), strict=True):
            share.extend(part.tolist())
    for share in shares:
        while len(share) < least:
            share.append(max(shares, key=len).pop())
    return [sorted(share) for share in shares], others.tolist()


def initial_weights(config: ExperimentConfig, found: SampleSet, seed: int) -> dict[str, torch.Tensor]:
    """The student's weights as PyTorch draws them."""
    model = config.student.model
    architecture: Architecture = plugins.build(plugins.MODEL, model.name, model.options)
    shape = tuple(found.train_inputs[torch.arange(1)].shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture.build(shape, len(found.class_names)).state_dict()
