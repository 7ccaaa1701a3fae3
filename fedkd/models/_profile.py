"""What a model costs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedkd.core.samples import SampleSpec


@dataclass(frozen=True)
class ModelProfile:
    """``parameters``: trainable numbers; ``flops``: floating-point operations of one sample's forward pass, a
    multiply-add counting as two; ``bytes``: those of the model's state, parameters and buffers, as it is stored.
    """

    parameters: int
    flops: int
    bytes: int

    @property
    def megabytes(self) -> float:
        """10⁶ bytes."""
        return self.bytes / 1e6


def profile(model: nn.Module, sample: SampleSpec) -> ModelProfile:
    """Count on one sample; the model's state and mode are left as they were."""
    from torch.utils.flop_counter import FlopCounterMode

    modes = [(module, module.training) for module in model.modules()]
    counter = FlopCounterMode(display=False)
    model.eval()
    try:
        with torch.no_grad(), counter:
            model(sample.made_up(1, next(model.parameters(), None)))
    finally:
        for module, training in modes:
            module.training = training
    return ModelProfile(
        parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        flops=int(counter.get_total_flops()),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()),
    )


def training_bytes(model: nn.Module, sample: SampleSpec, batch_size: int, momenta: int) -> int:
    """About how much memory a client's part of a stack takes while it trains, in bytes, without its samples.

    Parameters are there as the client's own before and after, stacked, as they were at the start, as gradients and as
    the optimiser's ``momenta``. What the layers put out counts four times: with its gradient, and as much again for the
    libraries' work space.
    """
    state = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return (5 + momenta) * state + 4 * batch_size * _activation_bytes(model, sample)


def _activation_bytes(model: nn.Module, sample: SampleSpec) -> int:
    """Bytes of all layers' outputs for one sample."""
    found: list[int] = []

    def count(module: nn.Module, given: object, output: object) -> None:
        if isinstance(output, Tensor):
            found.append(output.numel() * output.element_size())

    handles = [
        module.register_forward_hook(count) for module in model.modules() if next(module.children(), None) is None
    ]
    parameter, training = next(model.parameters()), model.training
    model.eval()
    try:
        with torch.no_grad():
            model(sample.made_up(1, parameter))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return sum(found)
