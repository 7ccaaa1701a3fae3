"""Normalisation layers that suit clients with few and skewed samples, and what is the clients' own of them."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # noqa: PLC2701

from fedkd.core.compute import laid_out_for
from fedkd.models._optimise import batch_sizes
from fedkd.models._predict import BATCH

Norm = Literal["group", "batch"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Group or batch normalisation of ``channels``.

    Group normalisation (Wu and He 2018, arXiv:1803.08494) has no batch statistics, which skewed clients would disagree
    about and which a mean of models would mix up (Hsieh et al. 2020, arXiv:1910.00189). It takes the most groups of
    8, 4 and 2 that divide the channels and leave four or more in each, else one.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    groups = next((count for count in (8, 4, 2) if channels % count == 0 and channels // count >= 4), 1)
    return nn.GroupNorm(groups, channels)


def replace_batch_norm(model: nn.Module, norm: Norm) -> nn.Module:
    """``model`` with every ``BatchNorm2d`` exchanged, in place, for the chosen normalisation."""
    if norm == "batch":
        return model
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, norm_layer(norm, child.num_features))
    return model


def batch_norm_entries(model: nn.Module, kept: Literal["none", "statistics", "all"]) -> tuple[str, ...]:
    """The names, in the model's state dict, of what is ``kept`` of batch normalisation.

    Its running statistics (SiloBN, Andreux et al. 2020, arXiv 2008.07424), or these with γ and β (FedBN, Li et al.
    2021, arXiv 2102.07623).
    """
    if kept == "none":
        return ()
    return tuple(
        f"{name}.{entry}" if name else entry
        for name, layer in model.named_modules(remove_duplicate=False)
        if isinstance(layer, _BatchNorm)
        for entry in layer.state_dict()
        if kept == "all" or entry not in {"weight", "bias"}
    )


@torch.no_grad()
def estimate_statistics(model: nn.Module, inputs: Tensor) -> None:
    """Replace the running statistics of batch normalisation by their means over batches of ``inputs``.

    AdaBN (Li et al. 2016, arXiv 1603.04779). With fewer than two samples they stay as they are. All else of the model
    is in evaluation mode.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    if not layers or len(inputs) < 2:
        return
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        # None: the mean of all that it sees.
        layer.train().momentum = None
    for batch in inputs.split(batch_sizes(len(inputs), BATCH)):
        model(laid_out_for(model, batch))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.eval().momentum = momentum
