"""The classification networks of torchvision, by their names there."""

import dataclasses
import inspect
from functools import lru_cache
from typing import Any, ClassVar, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd  # noqa: PLC2701

from fedkd.core.errors import PluginError
from fedkd.core.wording import nearest
from fedkd.models._base import Architecture
from fedkd.models._weights import load_weights

CHANNELS = 3

_SIDES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 384)
"""What is tried, in pixels, to say from which size of images on a network works."""


class _Torchvision(Architecture):
    """A network of torchvision, with a head for the classes of the run.

    ``weights`` is a file with a state dict of it; a head for other classes than these is not taken from it. ``freeze``
    trains the head alone: what is before it stays as it is, in evaluation mode. The other options are torchvision's,
    and those that are None are left to it.
    """

    takes = "images"
    network: ClassVar[str]
    sized: ClassVar[frozenset[str]]

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        options: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        weights, freeze = options.pop("weights"), options.pop("freeze")
        channels, height, width = shape
        if channels not in {1, CHANNELS}:
            raise PluginError(
                f"model 'torchvision:{self.network}': takes images of 1 or {CHANNELS} channels, got {channels}; bring "
                "a network of your own (module:Class)"
            )
        sizes = {"image_size": height, "input_size": (height, width)}
        given = {key: sizes[key] for key in self.sized} | {
            key: each for key, each in options.items() if each is not None
        }
        from torchvision import models

        made: nn.Module = models.get_model_builder(self.network)(num_classes=classes, **given)
        _check_size(self.network, made, height, width)
        head = _head(made)
        if weights is not None:
            load_weights(made, weights, head, f"model 'torchvision:{self.network}'")
        return _Images(made, head, frozen=freeze)


class _Images(nn.Module):
    """A network for images of three channels, which gets grey ones three times."""

    def __init__(self, network: nn.Module, head: str, *, frozen: bool) -> None:
        super().__init__()
        self.network, self._head, self._frozen = network, head, frozen
        if frozen:
            network.requires_grad_(False).get_submodule(head).requires_grad_()
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, CHANNELS, -1, -1)
        output: Tensor = self.network(images)
        return output

    def train(self, mode: bool = True) -> "_Images":
        super().train(mode)
        if self._frozen:
            # Batch statistics would move with the samples.
            self.network.eval().get_submodule(self._head).train(mode)
        return self


@lru_cache(maxsize=64)
def torchvision_architecture(name: str) -> type[Architecture]:
    """The architecture of ``torchvision:name``; raises ``PluginError`` for a name that is none of its classifiers."""
    # Here, for its import takes a second.
    from torchvision import models

    choices = models.list_models(module=models)
    if name not in choices:
        close = nearest(name, choices)
        hint = f"did you mean {close!r}?" if close else f"choices: {', '.join(choices)}"
        raise PluginError(f"model 'torchvision:{name}': torchvision has no classifier of that name; {hint}")
    network = get_type_hints(models.get_model_builder(name))["return"]
    hints = get_type_hints(network.__init__)
    fields: list[tuple[str, Any, Any]] = [("weights", str | None, None), ("freeze", bool, False)]
    sized = set()
    for each in inspect.signature(network).parameters.values():
        if each.name in {"image_size", "input_size"}:
            sized.add(each.name)
        elif each.default is each.empty or each.name == "num_classes" or not _is_plain(hints[each.name]):
            # What makes it the network of that name, or is no value of a configuration.
            continue
        fields.append((each.name, hints[each.name] | None, None))
    return dataclasses.make_dataclass(
        name,
        fields,
        bases=(_Torchvision,),
        namespace={
            "__doc__": f"torchvision's {name}.",
            "__module__": __name__,
            "network": name,
            "sized": frozenset(sized),
        },
        frozen=True,
        kw_only=True,
    )


def _is_plain(kind: Any) -> bool:
    """Whether a configuration can hold a value of that type."""
    try:
        TypeAdapter(kind, config=ConfigDict(arbitrary_types_allowed=True)).json_schema()
    except Exception:
        return False
    return True


def _head(network: nn.Module) -> str:
    """The name of the last layer, which has an output per class."""
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | _ConvNd)]
    return names[-1]


def _check_size(name: str, network: nn.Module, height: int, width: int) -> None:
    """Raises ``PluginError`` for images that are too small, and says which are not."""
    error = _failure(network, height, width)
    if error is None:
        return
    enough = next(
        (side for side in _SIDES if side > min(height, width) and _failure(network, side, side) is None), None
    )
    which = f"from {enough}×{enough} on" if enough else "of which size is unknown"
    raise PluginError(
        f"model 'torchvision:{name}': its forward pass fails on images of {height}×{width} pixels ({error}); it takes "
        f"larger ones, {which}: choose such a data set, or another model"
    )


@torch.no_grad()
def _failure(network: nn.Module, height: int, width: int) -> str | None:
    network.eval()
    try:
        network(torch.zeros(1, CHANNELS, height, width))
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    finally:
        network.train()
    return None
