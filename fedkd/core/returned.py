"""What a method of a plug-in returned, refused in words about the method where it is not what it has to be."""

from numbers import Real
from typing import TypeVar

import torch
from torch import Tensor

Wanted = TypeVar("Wanted")


def returned(found: object, wanted: type[Wanted], plugin: object, method: str) -> Wanted:
    """``found``, if it is a ``wanted``; raises ``ValueError``, which names the method, for anything else."""
    if not isinstance(found, wanted):
        name = wanted.__name__
        raise ValueError(f"{type(plugin).__name__}.{method} must return {name}, got {_kind(found)}; return {name}(...)")
    return found


def returned_tensor(
    found: object, plugin: object, method: str, what: str, shape: tuple[int, ...], dtype: torch.dtype | None = None
) -> Tensor:
    """``found``, if it is a tensor of that shape; ``what`` is such as ``logits [samples, classes]``.

    ``dtype`` may be any where it is None. Raises ``ValueError``, which names the method, for anything else.
    """
    if not isinstance(found, Tensor) or found.shape != shape or dtype not in (None, found.dtype):
        wanted = "tensor" if dtype is None else f"{_name(dtype)} tensor"
        raise ValueError(
            f"{type(plugin).__name__}.{method} must return {what} as {wanted} of shape {shape}, got {_kind(found)}; "
            "return as many, in the order in which they came"
        )
    return found


def returned_number(found: object, plugin: object, method: str) -> float:
    """``found``, if it is a real number; raises ``ValueError``, which names the method, for anything else."""
    if not isinstance(found, Real):
        name = f"{type(plugin).__name__}.{method}"
        raise ValueError(f"{name} must return a number, got {_kind(found)}; return float(...) of it")
    return float(found)


def _kind(found: object) -> str:
    if isinstance(found, Tensor):
        return f"{_name(found.dtype)} tensor of shape {tuple(found.shape)}"
    return type(found).__name__


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
