"""Optimisers and batches, the same for clients and server."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from jaxtyping import Int
from torch import Tensor, nn

from fedkd.config.schema import ClientsConfig, DistillationConfig
from fedkd.core.compute import to_device
from fedkd.core.optimisers import SGD, Adam, Optimiser

_FALL: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
}
"""From the share of a round's steps that is done to the share of the learning rate that is left."""


def make_optimiser(parameters: Iterable[nn.Parameter], config: ClientsConfig | DistillationConfig) -> Optimiser:
    """The optimiser that a section of the configuration asks for, of those parameters that require gradients."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    if config.optimiser == "adam":
        return Adam(parameters, config.learning_rate, config.weight_decay)
    return SGD(parameters, config.learning_rate, config.momentum, config.weight_decay)


def set_rate(optimiser: Optimiser, config: DistillationConfig, step: int, steps: int) -> None:
    """The learning rate of a step, from 0, of a round of so many: it rises over the warm-up, and falls as it should."""
    rise = min((step + 1) / config.warmup, 1.0) if config.warmup > 0 else 1.0
    fall = _FALL[config.schedule](step / steps)
    optimiser.learning_rate = config.learning_rate * rise * fall


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


def endless_batches(
    samples: Int[Tensor, " samples"], size: int, generator: torch.Generator
) -> Iterator[Int[Tensor, " batch"]]:
    """Shuffled passes over ``samples``, one after the other, in batches of ``size`` or of all if there are fewer."""
    size = min(size, samples.numel())
    while True:
        for batch in batches(samples, size, generator):
            if batch.numel() >= size:
                yield batch[:size]
