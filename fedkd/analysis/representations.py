"""How alike two networks see the same samples, layer by layer."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from fedkd.analysis.probing import layer_names, spread
from fedkd.core.compute import laid_out_for

Gram = Float[Tensor, "samples samples"]


def gram(features: Shaped[Tensor, "samples ..."]) -> Gram:
    """XXᵀ of the features, each centred over the samples, in float64."""
    flat = features.flatten(1).double()
    centred = flat - flat.mean(dim=0)
    return centred @ centred.T


def similarity(first: Gram, second: Gram) -> float | None:
    """Linear CKA of two sets of features of the same samples, in [0, 1], from their ``gram`` matrices.

    ⟨XXᵀ, YYᵀ⟩/(‖XXᵀ‖‖YYᵀ‖) = ‖YᵀX‖²/(‖XᵀX‖‖YᵀY‖) in Frobenius norms (Kornblith et al. 2019, arXiv 1905.00414, section
    3): 1 for features that are the same but for rotation and scale, 0 for orthogonal ones. None where one set is
    constant. The more features there are for a sample, the larger it is by chance.
    """
    norms = float(first.norm() * second.norm())
    return min(1.0, float((first * second).sum()) / norms) if norms > 0 else None


def similarities(first: Mapping[str, Gram], second: Mapping[str, Gram]) -> list[list[float | None]]:
    """``similarity`` of every layer of the first, a row each, with every layer of the second."""
    return [[similarity(one, other) for other in second.values()] for one in first.values()]


@torch.no_grad()
def layer_grams(network: nn.Module, inputs: Shaped[Tensor, "samples ..."], most: int) -> dict[str, Gram]:
    """The ``gram`` matrices of what up to ``most`` layers, at equal distances, make of the samples, in their order.

    The network is in evaluation mode.
    """
    found: dict[str, Gram] = {}

    def keep(name: str, output: Tensor) -> None:
        # At once, for the outputs of all layers together take a hundred times the memory.
        found[name] = gram(output)

    names, modules = list(spread(layer_names(network, inputs[:2]), most)), dict(network.named_modules())
    handles = [
        modules[name].register_forward_hook(lambda module, given, output, name=name: keep(name, output))
        for name in names
    ]
    try:
        network(laid_out_for(network, inputs))
    finally:
        for handle in handles:
            handle.remove()
    return {name: found[name] for name in names}
