"""Looking at what layers put out."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from fedkd.core.wording import nearest


def layer_fault(model: nn.Module, name: str) -> str | None:
    """What is wrong with a name that should be that of a module inside the model; None for a right one."""
    names = [each for each, _ in model.named_modules() if each]
    if name in names:
        return None
    close = nearest(name, names)
    hint = f"did you mean {close!r}? " if close else ""
    return f"no layer {name!r}; {hint}its layers are {', '.join(names)}"


@contextmanager
def tapped(model: nn.Module, names: Collection[str]) -> Iterator[dict[str, Tensor]]:
    """Inside the block, the outputs of the named modules in the model's last pass, with their graphs.

    Raises ``ValueError`` for a name that is none of a module's, or a module whose output is no tensor.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        if not isinstance(output, Tensor):
            raise ValueError(f"layer {name!r} puts out a {type(output).__name__}, where a tensor is compared")
        # A copy, for a rectifier after it may write over it.
        found[name] = output.clone()

    # At every step of a training, most of which look at no layer.
    modules, handles = dict(model.named_modules()) if names else {}, []
    for name in names:
        if (fault := layer_fault(model, name)) is not None:
            raise ValueError(fault)
    try:
        for name in names:
            handles.append(
                modules[name].register_forward_hook(lambda module, given, output, name=name: keep(name, output))
            )
        yield found
    finally:
        for handle in handles:
            handle.remove()
