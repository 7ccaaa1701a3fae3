"""A second device on a machine without one: it computes on the CPU, and lets nobody mix its tensors with the CPU's.

Only where a GPU would put up with it: copies, positions on the CPU for a tensor on the device, and single numbers. It
stays for the life of the process that imports this.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"

aten = torch.ops.aten
_COPIES = {aten.copy_.default, aten._to_copy.default, aten._foreach_copy_.default}
_TAKES_POSITIONS = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}

_setup_privateuseone_for_python_backend(NAME)


class _Resident(Tensor):
    """A tensor that is on the device; ``held`` are its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "_Resident":
        made: _Resident = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _compute(func, tuple(args), dict(kwargs or {}))


class PretendGpu(TorchDispatchMode):
    """Within it, tensors can be brought to the device ``NAME`` and made there; ``computed`` counts what it did."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.computed = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if not any(_there(leaf) for leaf in tree_leaves((args, options))):
            return func(*args, **options)
        self.computed += 1
        return _compute(func, tuple(args), options)


def _there(value: Any) -> bool:
    return isinstance(value, _Resident) or (isinstance(value, torch.device) and value.type == NAME)


def _compute(func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    leaves = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
    resident = any(isinstance(leaf, _Resident) for leaf in leaves)
    strangers = [leaf for leaf in leaves if not isinstance(leaf, _Resident) and leaf.ndim > 0]
    positions = func in _TAKES_POSITIONS and isinstance(args[0], _Resident)
    if resident and strangers and func not in _COPIES and not positions:
        raise RuntimeError(f"{func} of tensors on {NAME} and on the CPU")
    if func is aten._to_copy.default:
        target = options.get("device", args[0].device)
    elif func is aten.copy_.default or func is aten._foreach_copy_.default:
        target = None
    else:
        target = torch.device(NAME)
    plain_args, plain_options = tree_map(_held, (args, options))
    found = func(*plain_args, **plain_options)
    if target is None:
        return args[0] if func is aten.copy_.default else None
    if target.type == NAME:
        found = tree_map(lambda value: _Resident(value) if isinstance(value, Tensor) else value, found)
    if not resident:
        return found
    return return_and_correct_aliasing(func, args, options, found)


def _held(value: Any) -> Any:
    if isinstance(value, _Resident):
        return value.held
    return torch.device("cpu") if _there(value) else value
