"""The types of values that sections of the configuration share."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

Seed = Annotated[int, Field(ge=0, lt=2**63)]
MOST = 1_000_000
"""Of anything that is counted in rounds, clients, steps or epochs, for each of which something is kept in memory."""
Count = Annotated[int, Field(ge=1, le=MOST)]
Natural = Annotated[int, Field(ge=0, le=MOST)]
# A hundred million of the smallest images fill the memory of a large machine.
Samples = Annotated[int, Field(ge=1, le=100_000_000)]
# More than any machine has cores; torch takes memory for every one of them.
Threads = Annotated[int, Field(ge=1, le=1024)]
# No more than float32, in which models are trained, can hold with room to multiply.
Positive = Annotated[float, Field(gt=0, le=1e30)]
NonNegative = Annotated[float, Field(ge=0, le=1e30)]
Share = Annotated[float, Field(gt=0, le=1)]
Entropy = Annotated[Literal["seed", "system"], Field(description="seed: it repeats; system: the real thing")]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Plugin:
    """A plug-in by name, with its options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


NUMBERS = {"distillation.temperature": ("constant", "value")}
"""Where a number alone will do for a plug-in: which one it means, and which of its options."""


def spelt_out(path: str, value: Any) -> Any:
    """The plug-in at a path of the configuration with its name and options, if ``value`` is a short form of one."""
    if isinstance(value, str):
        return {"name": value}
    if path in NUMBERS and isinstance(value, int | float) and not isinstance(value, bool):
        name, option = NUMBERS[path]
        return {"name": name, option: value}
    return value


def as_plugin(value: Any) -> Any:
    """What a plug-in is read from: its name alone, or a section with its name and options."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict):
        if "name" not in value:
            raise ValueError("needs a 'name' beside its options")
        return {"name": value["name"], "options": {key: item for key, item in value.items() if key != "name"}}
    return value


def as_list(value: Any) -> Any:
    """A list of plug-ins, which may be one alone."""
    return [value] if isinstance(value, str | dict) else value


PluginValue = Annotated[Plugin, BeforeValidator(as_plugin)]
