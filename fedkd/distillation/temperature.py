"""The base class of every temperature schedule."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, final

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.core import plugins
from fedkd.core.returned import returned_number, returned_tensor
from fedkd.distillation.divergence import Temperatures

LOWEST, HIGHEST = 1e-3, 1e4
"""Temperatures between which the loss, which is multiplied by T², can be computed in float32."""

Temperature = Annotated[float, Field(ge=LOWEST, le=HIGHEST)]
"""The type of an option that is a temperature."""


class TemperatureSchedule(ABC):
    """Sets T, by which teacher's and student's logits are divided in L_dist.

    A schedule implements ``at``; callers call the instance, which checks. A schedule depends on nothing but its
    arguments, so there is no state to save.
    """

    @property
    def contenders(self) -> Mapping[str, "TemperatureSchedule"]:
        """Schedules by name, of which that one is taken which does best on validation samples; none: this one."""
        return {}

    @property
    def trial_steps(self) -> int | None:
        """For how many steps each of them is tried (None: for as many as a round has)."""
        return None

    @abstractmethod
    def at(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> Temperatures:
        """T for a step, or one T per sample; may assume ``progress`` in [0, 1], and must not change ``teacher``."""

    @final
    def __call__(self, progress: float, teacher: Float[Tensor, "samples classes"]) -> Temperatures:
        """T > 0 for a step, for all samples or, as a tensor of the teacher's type and device, for each.

        ``progress`` runs from 0 at the first step of the first round to 1 at the last step of the last; ``teacher`` is
        the round's log-probabilities on the samples that are distilled on, the same tensor at every step of a round.
        Raises ``ValueError`` for a progress outside [0, 1], or when the schedule gives no positive, finite number; each
        sample's must lie between ``LOWEST`` and ``HIGHEST``.
        """
        if not 0.0 <= progress <= 1.0:
            raise ValueError(f"progress must lie in [0, 1], got {progress}; it is the share of all steps")
        found = self.at(progress, teacher)
        if isinstance(found, Tensor) and found.ndim > 0:
            return self._checked(found, progress, teacher)
        temperature = returned_number(found, self, "at")
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(
                f"{type(self).__name__} set the temperature {temperature} at progress {progress}; "
                "it must be positive and finite"
            )
        return temperature

    def _checked(self, found: Tensor, progress: float, teacher: Tensor) -> Tensor:
        """One temperature per sample, as the losses take them."""
        found = returned_tensor(found, self, "at", "temperatures [samples]", tuple(teacher.shape[:1]))
        found = found.detach().to(teacher)
        wrong = ~((found >= LOWEST) & (found <= HIGHEST))
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0])
            raise ValueError(
                f"{type(self).__name__} set the temperature {float(found[at])} for sample {at} at progress {progress}; "
                f"each must lie in [{LOWEST:g}, {HIGHEST:g}]"
            )
        return found


def check_temperature(name: str, value: float) -> None:
    """Raise ``ValueError`` unless the option ``name`` is a positive, finite number."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}; 1 leaves distributions as they are")


def build_temperature(name: str, **options: Any) -> TemperatureSchedule:
    """The schedule ``name`` (a file of ``temperatures/``, or ``module:Class``); raises ``PluginError``."""
    schedule: TemperatureSchedule = plugins.build(plugins.TEMPERATURE, name, options)
    return schedule
