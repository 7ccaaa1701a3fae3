"""Student rules: the server's part of an algorithm."""

from fedkd.students._base import Answers, Lesson, StudentRule
from fedkd.students.averaging import average_states, parameter_fault, parameters_of
from fedkd.students.building import build_aggregator, build_distiller, teacher_generator
from fedkd.students.cache import TargetCache, Targets

__all__ = [
    "Answers",
    "Lesson",
    "StudentRule",
    "TargetCache",
    "Targets",
    "average_states",
    "build_aggregator",
    "build_distiller",
    "parameter_fault",
    "parameters_of",
    "teacher_generator",
]
