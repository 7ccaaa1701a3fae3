"""Temperature: how soft the teacher's distribution is when the student learns from it, step by step."""

from typing import Any

from fedkd import plugins
from fedkd.temperature._base import TemperatureSchedule

__all__ = ["TemperatureSchedule", "build"]


def build(name: str, **options: Any) -> TemperatureSchedule:
    """The schedule ``name`` (a file of this package, or ``module:Class``); raises ``PluginError`` for bad options."""
    schedule: TemperatureSchedule = plugins.build(plugins.TEMPERATURE, name, options)
    return schedule
