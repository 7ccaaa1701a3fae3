"""Networks that were not written for fedkd, as architectures: any ``nn.Module``, and those of torchvision."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, get_type_hints

from torch import nn

from fedkd.core.errors import PluginError
from fedkd.core.faults import described
from fedkd.models._base import Architecture
from fedkd.models._torchvision import torchvision_architecture

KNOWN = ("shape", "classes", "num_classes", "vocabulary")
"""The parameters of a class or function that fedkd fills in; all others are options."""

_RESERVED = ("build", "takes", "draws_itself", "smallest_side", "maker", "known")


def architecture_of(module: str, name: str, found: object) -> type[Architecture] | None:
    """The architecture that ``module:name`` stands for, where it is ``found`` there and no ``Architecture``.

    Of a subclass of ``nn.Module``, or a function that returns a module, it makes one by calling it, with those of
    ``KNOWN`` that its signature names; the other parameters are its options. ``torchvision:resnet18`` is torchvision's
    network of that name. None for anything else. Raises ``PluginError`` where the options cannot be read, and for a
    name that torchvision does not know.
    """
    if module == "torchvision":
        return torchvision_architecture(name)
    if inspect.isfunction(found) or (inspect.isclass(found) and issubclass(found, nn.Module)):
        maker: Callable[..., Any] = found
        return _made_by(maker)
    return None


class _Made(Architecture):
    """Calls ``maker`` with its options and what is ``known`` of the samples."""

    maker: ClassVar[Callable[..., Any]]
    known: ClassVar[frozenset[str]]

    def build(self, shape: tuple[int, ...], classes: int, vocabulary: int | None = None) -> Any:
        facts = dict(zip(KNOWN, (shape, classes, classes, vocabulary), strict=True))
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return type(self).maker(**options, **{key: facts[key] for key in self.known})


@lru_cache(maxsize=64)
def _made_by(maker: Callable[..., Any]) -> type[Architecture]:
    file = inspect.getsourcefile(maker)
    try:
        parameters = inspect.signature(maker).parameters
        hints = get_type_hints(maker.__init__ if inspect.isclass(maker) else maker, include_extras=True)
    except Exception as error:
        raise PluginError(f"the options of {maker.__name__} in {file} cannot be read: {described(error)}") from error
    named = [each for each in parameters.values() if each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}]
    options = [each for each in named if each.name not in KNOWN]
    if taken := [each.name for each in options if each.name in _RESERVED]:
        raise PluginError(
            f"the options of {maker.__name__} in {file} cannot be called {', '.join(taken)}; rename the parameter"
        )
    return dataclasses.make_dataclass(
        maker.__name__,
        [(each.name, hints.get(each.name, Any), _field(each)) for each in options],
        bases=(_Made,),
        namespace={
            "__doc__": maker.__doc__,
            "__module__": maker.__module__,
            "maker": staticmethod(maker),
            "takes": "tokens" if hints.get("vocabulary") is int else "anything",
            "known": frozenset(each.name for each in named if each.name in KNOWN),
        },
        frozen=True,
        kw_only=True,
    )


def _field(parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if default is parameter.empty:
        return dataclasses.field()
    # A list is nobody's default but its own.
    return dataclasses.field(default_factory=lambda: default)
