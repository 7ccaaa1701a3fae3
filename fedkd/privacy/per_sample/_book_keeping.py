"""Sums of clipped per-sample gradients for the price of little more than one backward pass, for common layers.

One forward pass records the inputs of all layers, one backward pass the gradients of their outputs; from the two follow
each sample's gradient norm and, with the clipping factors, the sum, without a second backward pass ("book-keeping",
Bu et al. 2022, arXiv 2210.00038, on top of mixed ghost clipping, Bu et al. 2022, arXiv 2205.10683).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int, Shaped
from torch import Tensor, nn


@dataclass(frozen=True)
class _Share:
    """One parameter's per-sample gradients: their squared norms, and their sum with a factor per sample."""

    parameter: nn.Parameter
    squared_norm: Tensor
    weighted_sum: Callable[[Tensor], Tensor]


def covers(model: nn.Module) -> bool:
    """Whether every trainable parameter belongs to a layer whose shares are known here; not yet, how it is used."""
    for module in model.modules():
        if not any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
            continue
        if type(module) not in _SHARES or getattr(module, "padding_mode", "zeros") != "zeros":
            return False
    return True


def book_kept_sum(
    model: nn.Module,
    inputs: Shaped[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    clip_norm: float,
) -> list[Tensor]:
    """The clipped sum of a model that ``covers`` accepts; raises ``ValueError`` where it uses a layer not just once."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if labels.numel() == 0:
        return [torch.zeros_like(parameter) for parameter in parameters]
    shares = _shares(model, inputs, labels)
    norm = torch.stack([share.squared_norm for share in shares.values()]).sum(dim=0).sqrt()
    finite = norm.isfinite()
    if not bool(finite.all()):
        return book_kept_sum(model, inputs[finite], labels[finite], clip_norm)
    factors = (clip_norm / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_max(1.0)
    return [shares[id(parameter)].weighted_sum(factors) for parameter in parameters]


def _shares(model: nn.Module, inputs: Tensor, labels: Tensor) -> dict[int, _Share]:
    """The share of every trainable parameter, by the parameter's ``id``: exactly one each."""
    trainable = {id(parameter): name for name, parameter in model.named_parameters() if parameter.requires_grad}
    with _recording(model) as tape:
        loss = F.cross_entropy(model(inputs), labels, reduction="sum")
        gradients = torch.autograd.grad(loss, [output for _, _, output in tape], allow_unused=True)
    with torch.no_grad():
        shares = [
            share
            for (module, given, _), gradient in zip(tape, gradients, strict=True)
            if gradient is not None
            for share in _SHARES[type(module)](module, given, gradient)
            if id(share.parameter) in trainable
        ]
    counts = Counter(id(share.parameter) for share in shares)
    if faulty := [name for key, name in trainable.items() if counts[key] != 1]:
        raise ValueError(
            f"DP-SGD needs every layer to be used once in every forward pass, and by a call; {', '.join(faulty)} "
            "must be used so"
        )
    return {id(share.parameter): share for share in shares}


@contextmanager
def _recording(model: nn.Module) -> Iterator[list[tuple[nn.Module, Tensor, Tensor]]]:
    """Record (layer, input, output) of every layer with trainable parameters, which get no gradients meanwhile."""
    tape: list[tuple[nn.Module, Tensor, Tensor]] = []

    def record(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if not output.requires_grad:
            # The first layer: nothing before it asks for gradients now.
            output.requires_grad_()
        tape.append((module, given[0].detach(), output))

    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    layers = [layer for layer in model.modules() if any(each.requires_grad for each in layer.parameters(recurse=False))]
    # What is changed in place is no longer the layer's output.
    in_place: list[Any] = [module for module in model.modules() if getattr(module, "inplace", False) is True]
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        for module in in_place:
            module.inplace = False
        yield tape
    finally:
        for handle in handles:
            handle.remove()
        for parameter in trainable:
            parameter.requires_grad_()
        for module in in_place:
            module.inplace = True


def _linear(module: Any, given: Tensor, gradient: Tensor) -> Iterator[_Share]:
    if given.ndim > 2:
        # [samples, positions, features]: the gradients of a sample's positions add up.
        rows, columns = gradient.flatten(1, -2), given.flatten(1, -2)
        yield _instantiated(module.weight, torch.einsum("bto,bti->boi", rows, columns))
        if module.bias is not None:
            yield _instantiated(module.bias, rows.sum(dim=1))
        return
    # A sample's gradient is an outer product, whose norm is the product of the norms.
    squared = gradient.square().sum(dim=1)
    yield _Share(
        module.weight,
        squared * given.square().sum(dim=1),
        lambda factors: (gradient * factors.unsqueeze(1)).T @ given,
    )
    if module.bias is not None:
        yield _Share(module.bias, squared, lambda factors: factors @ gradient)


def _conv2d(module: Any, given: Tensor, gradient: Tensor) -> Iterator[_Share]:
    # [samples, groups, positions, inputs of a patch] and [samples, groups, positions, output channels of a group]
    columns = _patches(module, given, gradient.shape[2:])
    rows = gradient.permute(0, 2, 3, 1).flatten(1, 2).unflatten(2, (module.groups, -1)).transpose(1, 2)
    positions, size = columns.shape[2], columns.shape[3] * rows.shape[3]

    def in_place(total: Tensor) -> Tensor:
        """A sum as the weight has it, from [groups, inputs of a patch, output channels of a group]."""
        parts = total.reshape(module.groups, *module.kernel_size, -1, rows.shape[3])
        weight: Tensor = module.weight
        return parts.permute(0, 4, 3, 1, 2).reshape(weight.shape)

    if 2 * positions**2 < size:
        overlap = (columns @ columns.transpose(2, 3)) * (rows @ rows.transpose(2, 3))
        yield _Share(
            module.weight,
            overlap.sum(dim=(1, 2, 3)),
            lambda factors: in_place(torch.einsum("b,bgpi,bgpo->gio", factors, columns, rows)),
        )
    else:
        flat = (columns.transpose(2, 3) @ rows).flatten(1)
        yield _Share(module.weight, flat.square().sum(dim=1), lambda factors: in_place(factors @ flat))
    if module.bias is not None:
        yield _instantiated(module.bias, gradient.sum(dim=(2, 3)))


def _patches(module: Any, given: Tensor, positions: torch.Size) -> Tensor:
    """The inputs of each output position, [samples, groups, positions, rows · columns · channels of a patch]."""
    left, right, top, bottom = module._reversed_padding_repeated_twice
    padded = F.pad(given.permute(0, 2, 3, 1), (0, 0, left, right, top, bottom)).contiguous()
    if given.shape[1] == 1:
        # Runs of one number are slow to gather.
        found = F.unfold(padded.permute(0, 3, 1, 2), module.kernel_size, module.dilation, stride=module.stride)
        return found.transpose(1, 2).unsqueeze(1)
    (sample, row, column, channel), stride, dilation = padded.stride(), module.stride, module.dilation
    windows: Tensor = padded.as_strided(
        (len(padded), *positions, *module.kernel_size, padded.shape[3]),
        (sample, row * stride[0], column * stride[1], row * dilation[0], column * dilation[1], channel),
    )
    if module.groups == 1:
        return windows.reshape(len(padded), 1, positions.numel(), -1)
    grouped: Tensor = windows.unflatten(5, (module.groups, -1)).permute(0, 5, 1, 2, 3, 4, 6)
    return grouped.reshape(len(padded), module.groups, positions.numel(), -1)


def _group_norm(module: Any, given: Tensor, gradient: Tensor) -> Iterator[_Share]:
    normalised = F.group_norm(given, module.num_groups, eps=module.eps)
    yield _instantiated(module.weight, (gradient * normalised).flatten(2).sum(dim=2))
    yield _instantiated(module.bias, gradient.flatten(2).sum(dim=2))


def _layer_norm(module: Any, given: Tensor, gradient: Tensor) -> Iterator[_Share]:
    shape = module.normalized_shape
    normalised = F.layer_norm(given, shape, eps=module.eps)
    between = tuple(range(1, given.ndim - len(shape)))
    yield _instantiated(module.weight, _sum(gradient * normalised, between))
    if module.bias is not None:
        yield _instantiated(module.bias, _sum(gradient, between))


def _sum(tensor: Tensor, dimensions: tuple[int, ...]) -> Tensor:
    return tensor.sum(dim=dimensions) if dimensions else tensor


def _instantiated(parameter: nn.Parameter, gradients: Tensor) -> _Share:
    """The share of a parameter whose per-sample gradients are at hand, [samples, ...]."""
    flat = gradients.flatten(1)
    return _Share(parameter, flat.square().sum(dim=1), lambda factors: (factors @ flat).reshape(parameter.shape))


_SHARES: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Iterator[_Share]]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv2d,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
}
