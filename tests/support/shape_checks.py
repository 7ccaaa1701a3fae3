"""jaxtyping's checks at run time, where there is a shape to check."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jaxtyping

_jaxtyped = jaxtyping.jaxtyped


def check_shapes(modules: Sequence[str]) -> None:
    """Check annotations at run time in all that is imported from these modules from now on.

    jaxtyping takes ten times as long for a call as the type checker alone, and most functions name no shape.
    """
    setattr(jaxtyping, "jaxtyped", _checked)  # noqa: B010 - which the hook's code looks up
    jaxtyping.install_import_hook(modules, "beartype.beartype")


def _checked(function: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    if function is None:
        return partial(_checked, typechecker=typechecker)
    if inspect.isfunction(function) and not _names_shapes(function.__annotations__):
        # One within another is made at each call of that, which would take longer than what it does.
        return function if "<locals>" in function.__qualname__ else typechecker(function)
    return _jaxtyped(function, typechecker=typechecker)


def _names_shapes(annotations: dict[str, Any]) -> bool:
    # A string, or a ForwardRef within another type, may stand for anything.
    return any(isinstance(each, str) for each in annotations.values()) or any(
        sign in str(annotations) for sign in ("jaxtyping.", "ForwardRef(")
    )
