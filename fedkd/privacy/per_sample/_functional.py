"""Sums of clipped per-sample gradients by ``torch.func``, of whatever torch can vectorise over samples."""

import warnings

import torch
import torch.nn.functional as F
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from torch.func import grad, vmap

from fedkd.core.compute import call_with

MOST_NUMBERS = 2**26
"""Most numbers in the per-sample gradients that are held in memory at once: 256 MiB of float32."""


def vectorised_sum(
    model: nn.Module,
    inputs: Shaped[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    clip_norm: float,
) -> list[Tensor]:
    """The clipped sum of a model that torch can vectorise; raises what torch does where it cannot.

    Every sample passes the model as a batch of its own, with dropout of its own, and every use of a parameter counts.
    """
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    total = [torch.zeros_like(parameter) for parameter in parameters.values()]
    at_once = max(1, MOST_NUMBERS // sum(parameter.numel() for parameter in parameters.values()))

    def loss(values: dict[str, Tensor], sample: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(call_with(model, values, sample.unsqueeze(0)), label.unsqueeze(0))

    gradients = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different")
    values = {name: parameter.detach() for name, parameter in parameters.items()}
    with warnings.catch_warnings():
        # Operations that torch takes sample by sample are slower, and right.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        for some, known in zip(inputs.split(at_once), labels.split(at_once), strict=True):
            if known.numel() > 0:
                torch._foreach_add_(total, _clipped(list(gradients(values, some, known).values()), clip_norm))
    return total


def _clipped(gradients: list[Tensor], clip_norm: float) -> list[Tensor]:
    """The sum over the first axis, each entry clipped; one whose norm is not finite counts as 0."""
    norm = torch.stack([each.flatten(1).square().sum(dim=1) for each in gradients]).sum(dim=0).sqrt()
    factors = (clip_norm / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1.0)
    finite = norm.isfinite()
    return [(factors[finite] @ each.flatten(1)[finite]).reshape(each.shape[1:]) for each in gradients]
