"""Student rules: the server's part of an algorithm."""

from fedkd.core.messages import Consensus, parameter_prefix, state_arrays
from fedkd.server.averaging import answer_fault, answers_of, average_states, parameters_of
from fedkd.server.setup import new_distiller, new_strategy, strategy_generator, teacher_of
from fedkd.server.student_rule import RoundReports, ServerUpdate, StudentRule
from fedkd.server.target_cache import TargetCache, Targets

__all__ = [
    "Consensus",
    "RoundReports",
    "ServerUpdate",
    "StudentRule",
    "TargetCache",
    "Targets",
    "answer_fault",
    "answers_of",
    "average_states",
    "new_strategy",
    "new_distiller",
    "parameter_prefix",
    "parameters_of",
    "state_arrays",
    "strategy_generator",
    "teacher_of",
]
