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
    """The optimiser that a section of the configuration asks for, of those parameters that require gradients."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    if config.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    return torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )


def batch_sizes(samples: int, size: int) -> list[int]:
    """How large the batches of one pass are: ``size`` each, the last what is left.

    Where that is a single sample it joins the batch before: batch normalisation has no statistics of one sample.
    """
    full, rest = divmod(samples, size)
    if rest == 1 and full > 0:
        return [*[size] * (full - 1), size + 1]
    return [*[size] * full, *[rest] * (rest > 0)]


def batches(samples: Int[Tensor, " samples"], size: int, generator: torch.Generator) -> Iterator[Int[Tensor, " batch"]]:
    """One shuffled pass over ``samples`` in batches of the sizes that ``batch_sizes`` says."""
    order = to_device(torch.randperm(samples.numel(), generator=generator), samples.device)
    yield from samples[order].split(batch_sizes(samples.numel(), size))
