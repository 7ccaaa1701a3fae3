"""Federated averaging."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from fedkd import StudentRule
from fedkd.core.messages import Arrays, ClientReport, parameter_prefix, state_arrays
from fedkd.experiment import STUDENT, Experiment
from fedkd.server.averaging import average_states, parameter_fault, parameters_of
from fedkd.server.student_rule import RoundReports, ServerUpdate


@dataclass
class Average(StudentRule):
    """The student is the example-weighted mean of the clients' models (McMahan et al. 2017, arXiv 1602.05629, Alg. 1).

    No public data, no teacher and no distillation. All clients need the student's architecture.
    """

    needs: ClassVar[str] = "parameters"
    offers: ClassVar[frozenset[str]] = frozenset({"parameters"})
    teaches: ClassVar[bool] = False

    _student: nn.Module = field(init=False, repr=False)

    def begin(self, experiment: Experiment) -> None:
        self._student = experiment.initial_model()

    @property
    def student(self) -> nn.Module:
        return self._student

    def broadcast(self) -> Arrays:
        prefix = parameter_prefix(STUDENT)
        return {prefix + name: array for name, array in state_arrays(self._student.state_dict()).items()}

    def fault(self, report: ClientReport) -> str | None:
        return parameter_fault(report, STUDENT, state_arrays(self._student.state_dict()))

    def update(self, received: RoundReports) -> ServerUpdate:
        states = [parameters_of(report, STUDENT) for report in received.reports]
        mean = average_states(states, [report.examples for report in received.reports])
        self._student.load_state_dict({name: torch.from_numpy(array) for name, array in mean.items()})
        return ServerUpdate()

    def state_dict(self) -> dict[str, Any]:
        return {"student": self._student.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._student.load_state_dict(state["student"])
