"""Optimisers and batches, the same for clients and server."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Int
from torch import Tensor, nn

from fedkd.config.schema import ClientsConfig, DistillationConfig
from fedkd.core.compute import to_device


def make_optimiser(
    parameters: Iterable[nn.Parameter], config: ClientsConfig | DistillationConfig
) -> torch.optim.Optimizer:
    """The optimiser that a section of the configuration asks for."""
    if config.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )


def batches(samples: Int[Tensor, " samples"], size: int, generator: torch.Generator) -> Iterator[Int[Tensor, " batch"]]:
    """One shuffled pass over ``samples`` in batches of ``size``; the last may be smaller."""
    order = to_device(torch.randperm(samples.numel(), generator=generator), samples.device)
    yield from samples[order].split(size)
