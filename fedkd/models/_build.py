"""Building a model whose parameters come from a given generator alone."""

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


def build_model(spec: Plugin, sample: SampleSpec, classes: int, generator: torch.Generator) -> nn.Module:
    """The model that ``spec`` names, for images of ``shape`` (channels, height, width), with fresh parameters.

    Equal generators give equal models; torch's global generator is left as it was. Weights of convolutions and linear
    layers are normal with variance 2/fan_in (He et al. 2015, arXiv:1502.01852), of the last linear layer, which no ReLU
    follows, 1/fan_in; biases are 0, norms 1 and 0. Other parameters are as ``build`` draws them from torch's global
    generator, which is seeded for it; what it sets to one number throughout is kept.

    Raises ``PluginError`` when the name or an option is wrong, ``build`` fails, with its line, the images are too small
    for the architecture, or parameters are frozen or loaded.
    """
    architecture: Architecture = plugins.build(plugins.MODEL, spec.name, spec.options)
    least = architecture.smallest_side
    shape = sample.shape
    if min(shape[1:], default=least) < least:
        raise PluginError(
            f"model {spec.name!r}: images must be at least {least}×{least} pixels, got {shape[1]}×{shape[2]}; "
            "choose another model, such as mlp, or a data set with larger images"
        )
    # A copy, for the parameters below are drawn from the generator as it was given.
    seeds = torch.Generator()
    seeds.set_state(generator.get_state())
    model, other = (_built(architecture, spec.name, shape, classes, seeds) for _ in range(2))
    kept = _set_by_hand(model, other, spec.name)
    _initialise(model, kept, generator)
    return model


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _built(
    architecture: Architecture, name: str, shape: tuple[int, ...], classes: int, seeds: torch.Generator
) -> nn.Module:
    """What ``build`` returns, with everything that it draws taken from ``seeds``."""
    draw = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=seeds)))
    with told_by_line(f"model {name!r}: build({shape}, {classes})", PluginError), ambient_randomness(draw):
        model: object = architecture.build(shape, classes)
    if not isinstance(model, nn.Module):
        raise PluginError(
            f"model {name!r}: build must return a torch.nn.Module, got {type(model).__name__}; return one"
        )
    if lazy := [key for key, parameter in model.named_parameters() if is_lazy(parameter)]:
        raise PluginError(
            f"model {name!r}: {some(lazy)} have no size before the first forward pass; name the number of inputs "
            "(Linear instead of LazyLinear)"
        )
    return model


def _set_by_hand(model: nn.Module, other: nn.Module, name: str) -> set[str]:
    """The parameters that ``build`` set to a number of its own, rather than drew: equal in both models.

    Raises ``PluginError`` for what cannot be drawn anew without losing what was meant: frozen and loaded parameters.
    """
    one, two = dict(model.named_parameters()), dict(other.named_parameters())
    if {key: each.shape for key, each in one.items()} != {key: each.shape for key, each in two.items()}:
        raise PluginError(f"model {name!r}: build must make the same layers at every call; let it draw none at random")
    if frozen := [key for key, each in one.items() if not each.requires_grad]:
        raise PluginError(
            f"model {name!r}: {some(frozen)} are frozen, and models start from parameters drawn anew, which pretrained "
            "ones are lost by; let them be trained, or register what is no parameter as a buffer"
        )
    weights = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, _ConvNd | nn.Linear) and _has_weight(module)
    }
    kept = {key for key, each in one.items() if torch.equal(each, two[key])}
    loaded = [
        key
        for key, each in one.items()
        if key in kept and bool((each != (0 if id(each) in weights else each.flatten()[:1])).any())
    ]
    if loaded:
        raise PluginError(
            f"model {name!r}: {some(loaded)} are the same whatever the seed, as loaded weights are, and models start "
            "from parameters drawn anew; leave out of build what loads or fixes them (torch.manual_seed, too), or "
            "register what is not to be trained as a buffer"
        )
    return kept


def _has_weight(module: nn.Module) -> bool:
    """Whether the weight is a parameter, and not made of others (weight_norm)."""
    return isinstance(module._parameters.get("weight"), nn.Parameter)


@torch.no_grad()
def _initialise(model: nn.Module, kept: set[str], generator: torch.Generator) -> None:
    """Draw the weights of convolutions and linear layers, and reset biases and norms, but for what is ``kept``."""
    modules = list(model.modules())
    output = next((module for module in reversed(modules) if isinstance(module, nn.Linear)), None)
    fixed = {id(parameter) for key, parameter in model.named_parameters() if key in kept}
    for module in modules:
        free = {
            key: parameter
            for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
            if id(parameter) not in fixed
        }
        if isinstance(module, _ConvNd | nn.Linear):
            if "weight" in free:
                nn.init.kaiming_normal_(
                    free["weight"], nonlinearity="linear" if module is output else "relu", generator=generator
                )
            if "bias" in free:
                free["bias"].zero_()
        elif isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm):
            if "weight" in free:
                free["weight"].fill_(1.0)
            if "bias" in free:
                free["bias"].zero_()
            if isinstance(module, _NormBase):
                module.reset_running_stats()
