"""Student rules: the server's part of an algorithm."""

from fedkd.server.averaging import average_states, parameter_fault, parameters_of
from fedkd.server.setup import new_distiller, new_strategy, strategy_generator
from fedkd.server.student_rule import RoundReports, ServerUpdate, StudentRule
from fedkd.server.target_cache import TargetCache, Targets

__all__ = [
    "RoundReports",
    "ServerUpdate",
    "StudentRule",
    "TargetCache",
    "Targets",
    "average_states",
    "new_strategy",
    "new_distiller",
    "parameter_fault",
    "parameters_of",
    "strategy_generator",
]
