"""Building a model whose parameters come from a given generator alone."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # noqa: PLC2701
from torch.nn.modules.conv import _ConvNd  # noqa: PLC2701

from fedkd.config.schema import Plugin
from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.models._base import Architecture


def build_model(spec: Plugin, shape: tuple[int, int, int], classes: int, generator: torch.Generator) -> nn.Module:
    """The model that ``spec`` names, for images of ``shape`` (channels, height, width), with fresh parameters.

    Equal generators give equal models; torch's global generator is left as it was. Weights of convolutions and linear
    layers are normal with variance 2/fan_in (He et al. 2015, arXiv:1502.01852), of the last linear layer, which no ReLU
    follows, 1/fan_in; biases are 0, norms 1 and 0.

    Raises ``PluginError`` when the name or an option is wrong, the images are too small for the architecture, or it
    has parameters of a kind that this function cannot initialise.
    """
    architecture: Architecture = plugins.build(plugins.MODEL, spec.name, spec.options)
    least = architecture.smallest_side
    if min(shape[1:]) < least:
        raise PluginError(
            f"model {spec.name!r}: images must be at least {least}×{least} pixels, got {shape[1]}×{shape[2]}; "
            "choose another model, such as mlp, or a data set with larger images"
        )
    with torch.random.fork_rng(devices=[]):
        model = architecture.build(shape, classes)
    _initialise(model, spec.name, generator)
    return model


@torch.no_grad()
def _initialise(model: nn.Module, name: str, generator: torch.Generator) -> None:
    modules = list(model.modules())
    output = next((module for module in reversed(modules) if isinstance(module, nn.Linear)), None)
    for module in modules:
        if isinstance(module, _ConvNd | nn.Linear):
            nn.init.kaiming_normal_(
                module.weight, nonlinearity="linear" if module is output else "relu", generator=generator
            )
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm):
            if module.weight is not None:
                module.weight.fill_(1.0)
            if module.bias is not None:
                module.bias.zero_()
            if isinstance(module, _NormBase):
                module.reset_running_stats()
        elif parameters := [key for key, _ in module.named_parameters(recurse=False)]:
            raise PluginError(
                f"model {name!r}: cannot initialise {', '.join(parameters)} of {type(module).__name__} from the "
                "experiment's seed; build the model of convolution, linear and normalisation layers"
            )
