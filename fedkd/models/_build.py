"""Building a model whose parameters come from a given generator alone."""

import inspect
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # noqa: PLC2701
from torch.nn.modules.conv import _ConvNd  # noqa: PLC2701
from torch.nn.parameter import is_lazy

from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.core.faults import told_by_line
from fedkd.core.samples import SampleSpec
from fedkd.core.seeding import ambient_randomness
from fedkd.models._base import Architecture

SHOWN = 3
"""Most parameters that a message names."""

_TAKES = {
    "numbers": "numbers",
    "images": "images [channels, height, width]",
    "tokens": "tokens",
    "sequences": "series [channels, time] or tokens [tokens]",
}


def build_model(spec: Plugin, sample: SampleSpec, classes: int, generator: torch.Generator) -> nn.Module:
    """The model that ``spec`` names, for such samples, with its initial weights.

    Equal generators give equal models; torch's global generator is left as it was. A network draws its weights itself,
    from torch's global generator, which is seeded for it; what it loads instead, or lets require no gradient, is kept
    so. Of shipped networks for images and ``mlp`` fedkd draws them: weights of convolutions and linear layers are
    normal with variance 2/fan_in (He et al. 2015, arXiv:1502.01852), of the last linear layer, which no ReLU follows,
    1/fan_in; biases are 0, norms 1 and 0.

    Raises ``PluginError`` when the name or an option is wrong, the network takes no such samples, or building it fails,
    with its line.
    """
    architecture: Architecture = plugins.build(plugins.MODEL, spec.name, spec.options)
    _check_taken(architecture, spec.name, sample)
    # A copy, for what fedkd draws comes from the generator as it was given.
    seeds = torch.Generator()
    seeds.set_state(generator.get_state())
    model = _built(architecture, spec.name, sample, classes, seeds)
    if not architecture.draws_itself:
        _initialise(model, generator)
    return model


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _check_taken(architecture: Architecture, name: str, sample: SampleSpec) -> None:
    """Raises ``PluginError`` for samples that the architecture does not take."""
    numbers, axes, least = sample.vocabulary is None, len(sample.shape), architecture.smallest_side
    taken = {
        "anything": True,
        "numbers": numbers,
        "images": sample.is_image,
        "tokens": not numbers,
        "sequences": axes == (2 if numbers else 1),
    }
    if not taken[architecture.takes]:
        others = {(True, 1): "mlp", (True, 2): "gru, transformer or mlp", (False, 1): "gru or transformer"}
        raise PluginError(
            f"model {name!r}: takes {_TAKES[architecture.takes]}, and the samples are {sample}; choose "
            f"{others.get((numbers, axes), 'mlp')}, or bring a network of your own (module:Class)"
        )
    if architecture.takes == "images" and min(sample.shape[1:]) < least:
        raise PluginError(
            f"model {name!r}: images must be at least {least}×{least} pixels, got {sample.shape[1]}×{sample.shape[2]}; "
            "choose another model, such as mlp, or a data set with larger images"
        )


def _built(
    architecture: Architecture, name: str, sample: SampleSpec, classes: int, seeds: torch.Generator
) -> nn.Module:
    """What ``build`` returns, with everything that it draws taken from ``seeds``."""
    draw = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=seeds)))
    more = {"vocabulary": sample.vocabulary} if "vocabulary" in inspect.signature(architecture.build).parameters else {}
    what = f"model {name!r}: building it for samples of {sample} and {classes} classes"
    with told_by_line(what, PluginError), ambient_randomness(draw):
        model: object = architecture.build(sample.shape, classes, **more)
    if not isinstance(model, nn.Module):
        raise PluginError(f"model {name!r}: must be a torch.nn.Module, got {type(model).__name__}; return one")
    if lazy := [key for key, parameter in model.named_parameters() if is_lazy(parameter)]:
        raise PluginError(
            f"model {name!r}: {some(lazy)} have no size before the first forward pass; name the number of inputs "
            "(Linear instead of LazyLinear)"
        )
    return model


@torch.no_grad()
def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of convolutions and linear layers, and reset biases and norms."""
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
