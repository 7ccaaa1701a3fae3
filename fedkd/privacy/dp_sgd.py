"""DP-SGD: local training that protects every record."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from fedkd.core.compute import laid_out_for
from fedkd.core.optimisers import Optimiser
from fedkd.core.seeding import ambient_randomness
from fedkd.privacy.mechanism import PrivateTraining
from fedkd.privacy.noise import gaussian
from fedkd.privacy.per_sample import clipped_sum_of

CHUNK = 128
"""Most samples whose gradients are held in memory at once; with more of them, caches overflow."""


def sampling_rate(examples: int, batch_size: int) -> float:
    """q, with which every record takes part in a step: the batch size is the expected one; 1 for fewer examples."""
    return min(1.0, batch_size / examples)


def private_steps(examples: int, batch_size: int, epochs: int) -> int:
    """The steps of so many epochs: as many as without privacy."""
    return epochs * math.ceil(examples / batch_size)


@dataclass(frozen=True)
class PrivateSchedule:
    """``epochs`` of batches that hold ``batch_size`` samples on average; ``proximal`` is FedProx's μ.

    That is for ``examples`` samples; with fewer there are as many steps on smaller batches, so that neither tells how
    many there are (None: as many as there are).
    """

    epochs: int
    batch_size: int
    proximal: float = 0.0
    examples: int | None = None


def train_privately(
    model: nn.Module,
    inputs: Shaped[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    optimiser: Optimiser,
    private: PrivateTraining,
    schedule: PrivateSchedule,
    generator: np.random.Generator,
) -> None:
    """Train ``model`` in place by cross-entropy and DP-SGD (Abadi et al. 2016, arXiv 1607.00133, Algorithm 1).

    ``private_steps`` steps, each on a Poisson sample of rate ``sampling_rate`` = q: the clipped gradients are summed,
    N(0, (noise_multiplier·clip_norm)²) is added, the result divided by the expected size (never by the
    realised one, which is private) and handed to ``optimiser``. What it makes of that, momentum and weight decay
    included, is post-processing, as is FedProx's pull to the parameters at the call.

    Sampling and noise come from ``generator`` alone, and noise is added in float64. Raises ``ValueError`` for a model
    that cannot be trained so, such as one with batch normalisation, and where there are no samples.
    """
    if labels.numel() == 0:
        raise ValueError("labels must hold at least one sample; leave a client without samples out")
    planned = labels.numel() if schedule.examples is None else schedule.examples
    if planned < labels.numel():
        raise ValueError(f"labels must be at most the {planned} that the schedule is for; raise clients.max_examples")
    clipped_sum = clipped_sum_of(model, inputs.shape[1:], inputs.dtype)
    device = next(model.parameters()).device
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    anchor = [parameter.detach().clone() for parameter in parameters] if schedule.proximal else []
    rate = sampling_rate(planned, schedule.batch_size)
    steps = private_steps(planned, schedule.batch_size, schedule.epochs)
    scale = private.noise_multiplier * private.clip_norm
    # Dropout, which hides nothing, draws from a stream of its own: the layers know no other than torch's.
    ambient = torch.Generator().manual_seed(int(generator.integers(2**63)))
    model.train()
    with ambient_randomness(ambient):
        for batch in poisson_batches(labels.numel(), rate, steps, generator):
            total = [torch.zeros_like(parameter) for parameter in parameters]
            for part in batch.split(CHUNK):
                batch_inputs = laid_out_for(model, inputs[part].to(device))
                sums = clipped_sum(model, batch_inputs, labels[part].to(device), private.clip_norm)
                torch._foreach_add_(total, sums)
            for index, parameter in enumerate(parameters):
                noised = gaussian(parameter.shape, scale, generator).to(device).add_(total[index])
                parameter.grad = noised.div_(rate * planned).to(parameter.dtype)
                if anchor:
                    parameter.grad.add_(parameter.detach() - anchor[index], alpha=schedule.proximal)
            optimiser.step()
    optimiser.zero_grad()


def poisson_batches(
    samples: int, rate: float, steps: int, generator: np.random.Generator
) -> Iterator[Int[Tensor, " batch"]]:
    """Per step the positions that are drawn, each on its own with probability ``rate``; there may be none."""
    for _ in range(steps):
        yield torch.from_numpy(np.flatnonzero(generator.random(samples) < rate))
