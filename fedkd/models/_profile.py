"""What a model costs."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class ModelProfile:
    """``parameters``: trainable numbers; ``flops``: floating-point operations of one sample's forward pass, a
    multiply-add counting as two; ``megabytes``: 10⁶ bytes of the model's state, parameters and buffers.
    """

    parameters: int
    flops: int
    megabytes: float


def profile(model: nn.Module, shape: tuple[int, int, int]) -> ModelProfile:
    """Count on an image of ``shape`` (channels, height, width); the model's state and mode are left as they were."""
    from torch.utils.flop_counter import FlopCounterMode

    modes = [(module, module.training) for module in model.modules()]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    counter = FlopCounterMode(display=False)
    model.eval()
    try:
        with torch.no_grad(), counter:
            model(torch.zeros(1, *shape, device=device))
    finally:
        for module, training in modes:
            module.training = training
    return ModelProfile(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        flops=int(counter.get_total_flops()),
        megabytes=sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()) / 1e6,
    )
