"""A temperature, or a schedule, that is chosen on the server's validation samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.core.errors import PluginError
from fedkd.distillation.temperature import TemperatureSchedule, build_temperature


@dataclass(kw_only=True)
class Auto(TemperatureSchedule):
    """Tries ``candidates`` on copies of the student with the first round's teacher, and goes on with the best one.

    A candidate is a number, the name of a schedule, or a section with its name and options. Each is tried for ``steps``
    steps (none: a whole round's), in which a schedule runs from its first value to its last, and all in the same
    batches; so the first round takes as many times longer as there are candidates. Which is best, validation samples
    tell (``fedkd.distillation.temperature_choice.choose``); no test sample is used. A student rule that makes a new
    trainer in every round, as ``average_and_distil`` does, chooses in every round.
    """

    candidates: Annotated[tuple[Any, ...], Field(min_length=2, max_length=50)] = field(
        default_factory=lambda: (1.0, 2.0, 3.0, 5.0, 8.0, {"name": "linear", "start": 5.0, "end": 1.0})
    )
    steps: Annotated[int | None, Field(ge=1, le=1_000_000)] = None
    _schedules: dict[str, TemperatureSchedule] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.candidates) < 2:
            raise ValueError(f"candidates must be at least 2, got {list(self.candidates)}; name what is to be tried")
        self._schedules = {}
        for index, candidate in enumerate(self.candidates):
            name, schedule = _read(index, candidate)
            if name in self._schedules:
                raise ValueError(f"candidates.{index}: each may be listed once, got {name}; remove the repetition")
            self._schedules[name] = schedule

    @property
    def contenders(self) -> Mapping[str, TemperatureSchedule]:
        return self._schedules

    @property
    def trial_steps(self) -> int | None:
        return self.steps

    def at(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> float:
        raise ValueError("auto has no temperature of its own; a Distiller tries its contenders and takes one of them")


def _read(index: int, candidate: Any) -> tuple[str, TemperatureSchedule]:
    """A candidate's name, for reports, and its schedule."""
    if isinstance(candidate, int | float) and not isinstance(candidate, bool):
        name, options, told = "constant", {"value": float(candidate)}, f"{candidate:g}"
    elif isinstance(candidate, str):
        name, options, told = candidate, {}, candidate
    elif isinstance(candidate, Mapping) and isinstance(candidate.get("name"), str):
        name, options = candidate["name"], {key: value for key, value in candidate.items() if key != "name"}
        told = f"{name}({', '.join(f'{key}={value}' for key, value in options.items())})" if options else name
    else:
        raise ValueError(
            f"candidates.{index}: must be a number, the name of a schedule, or a section with its name and options, "
            f"got {candidate!r}; write 3, linear, or {{name: linear, start: 5, end: 1}}"
        )
    try:
        schedule = build_temperature(name, **options)
    except PluginError as error:
        raise ValueError(f"candidates.{index}: {error}") from error
    if schedule.contenders:
        raise ValueError(f"candidates.{index}: must be a schedule that tries nothing itself, got {name}; leave it out")
    return told, schedule
