"""Weights that the user gives a model to start from."""

import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fedkd.core.wording import cut, shown
from fedkd.models._build import some

_WRITE = "write the file with torch.save(model.state_dict(), FILE)"


def load_given(model: nn.Module, content: bytes) -> str | None:
    """Give a model the state in what ``torch.save`` wrote, names and shapes exactly as its own; nothing is executed.

    Numbers of another precision become those of the model. What is returned says why it cannot be; None where it could.
    """
    given = read_state(content)
    if isinstance(given, str):
        return given
    if faults := list(state_faults(model.state_dict(), given)):
        return f"{'; '.join(faults)}; give the weights of that very model, no more and no less"
    model.load_state_dict(given)
    return None


def read_state(content: bytes) -> Mapping[str, Tensor] | str:
    """The tensors by name in what ``torch.save`` wrote, or why there are none; nothing is executed."""
    try:
        with warnings.catch_warnings():
            # What torch finds odd about a file that it then refuses.
            warnings.simplefilter("ignore")
            given = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # torch raises what it likes
        return (
            "torch.load(weights_only=True) cannot read it: it is damaged, or holds objects and code beside tensors; "
            f"{_WRITE}"
        )
    if not isinstance(given, Mapping) or not all(
        isinstance(name, str) and isinstance(each, Tensor) for name, each in given.items()
    ):
        return f"it holds {_described(given)} and no state dict, which is tensors by name; {_WRITE}"
    return given


def _described(given: Any) -> str:
    if isinstance(given, Mapping):
        odd = next(name for name, each in given.items() if not (isinstance(name, str) and isinstance(each, Tensor)))
        return f"{shown(odd)}, a {type(given[odd]).__name__},"
    return f"a {type(given).__name__}"


def state_faults(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterator[str]:
    """Why a state cannot take the place of a model's own."""
    if missing := [name for name in own if name not in given]:
        yield f"it lacks {some(missing)}"
    if unknown := [name for name in given if name not in own]:
        yield f"the model has no {some([cut(name) for name in unknown])}"
    both = [name for name in own if name in given]
    if other := [name for name in both if given[name].shape != own[name].shape]:
        shapes = [f"{name} {list(given[name].shape)} instead of {list(own[name].shape)}" for name in other]
        yield f"it has another shape of {some(shapes)}"
    rest = [name for name in both if name not in other]
    if odd := [name for name in rest if not _is_alike(given[name], own[name])]:
        yield f"it has another kind of numbers in {some([f'{name} ({given[name].dtype})' for name in odd])}"
    same = {name: given[name].to(own[name].dtype) for name in rest if name not in odd}
    if wild := [name for name, each in same.items() if not bool(each.isfinite().all())]:
        yield f"numbers are not finite in {some(wild)}"


def _is_alike(given: Tensor, own: Tensor) -> bool:
    plain = given.layout == torch.strided and not given.is_quantized and given.device.type == "cpu"
    return plain and given.is_floating_point() == own.is_floating_point() and given.is_complex() == own.is_complex()
