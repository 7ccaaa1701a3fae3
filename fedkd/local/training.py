"""Training of one model on tensors that are already in memory."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedkd.config import ClientsConfig, DistillationConfig
from fedkd.seeding import ambient_randomness


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
    yield from samples[torch.randperm(samples.numel(), generator=generator)].split(size)


def train(
    model: nn.Module,
    images: Float[Tensor, "samples channels height width"],
    labels: Int[Tensor, " samples"],
    chosen: Int[Tensor, " chosen"],
    config: ClientsConfig,
    *,
    epochs: int,
    generator: torch.Generator,
) -> None:
    """Train ``model`` in place on the chosen samples by cross-entropy.

    With ``config.proximal`` μ > 0 adds FedProx's μ/2·‖w − w_received‖² (Li et al. 2020, arXiv 1812.06127, Eq. 2), where
    w_received are the parameters at the call.
    """
    device = next(model.parameters()).device
    optimiser = make_optimiser(model.parameters(), config)
    anchor = [parameter.detach().clone() for parameter in model.parameters()] if config.proximal else []
    model.train()
    with ambient_randomness(generator):
        for _ in range(epochs):
            for batch in batches(chosen, config.batch_size, generator):
                inputs = images[batch].to(device).contiguous(memory_format=torch.channels_last)
                loss = nn.functional.cross_entropy(model(inputs), labels[batch].to(device))
                optimiser.zero_grad()
                loss.backward()
                for parameter, start in zip(model.parameters(), anchor, strict=False):
                    if parameter.grad is not None:
                        parameter.grad.add_(parameter.detach() - start, alpha=config.proximal)
                optimiser.step()
