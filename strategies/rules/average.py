"""Federated averaging."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fedkd import StudentRule
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import Arrays, ClientReport, parameter_prefix, state_arrays
from fedkd.experiment import STUDENT, Experiment
from fedkd.models import estimate_statistics, predict
from fedkd.server.averaging import answer_fault, average_states, parameters_of
from fedkd.server.student_rule import RoundReports, ServerUpdate

TRIED = 32
"""Samples on which a client's model is tried before it is averaged."""


@dataclass
class Average(StudentRule):
    """The student is the example-weighted mean of the clients' models (McMahan et al. 2017, arXiv 1602.05629, Alg. 1).

    No teacher and no distillation; of the public samples a few serve to try a client's model, or made-up ones where
    there are none; it is left out of the average where its logits are beyond all bounds. All clients need the student's
    architecture.

    What clients keep to themselves (``clients.keep_batch_norm``) is the student's own: γ and β stay as they were at the
    start, and statistics are those of the round's public samples, where there are any.
    """

    needs: ClassVar[str] = "parameters"
    offers: ClassVar[frozenset[str]] = frozenset({"parameters"})
    teaches: ClassVar[bool] = False
    needs_examples: ClassVar[bool] = True
    takes_parts: ClassVar[bool] = True

    _experiment: Experiment = field(init=False, repr=False)
    _student: nn.Module = field(init=False, repr=False)
    _tried: nn.Module = field(init=False, repr=False)

    def begin(self, experiment: Experiment) -> None:
        self._experiment, self._student = experiment, experiment.initial_model()
        self._tried = experiment.initial_model()

    @property
    def student(self) -> nn.Module:
        return self._student

    def broadcast(self) -> Arrays:
        prefix = parameter_prefix(STUDENT)
        return {prefix + name: array for name, array in state_arrays(self._student.state_dict()).items()}

    def fault(self, report: ClientReport) -> str | None:
        experiment = self._experiment
        samples = experiment.resident.public.inputs[:TRIED]
        if len(samples) == 0:
            samples = experiment.data.spec.made_up(TRIED)
        self._load(self._tried, parameters_of(report, STUDENT), samples)
        return answer_fault(predict(self._tried, samples))

    def update(self, received: RoundReports) -> ServerUpdate:
        states = [parameters_of(report, STUDENT) for report in received.reports]
        mean = average_states(states, [report.examples for report in received.reports])
        with fixed_threads(self._experiment.config.engine.server_threads):
            self._load(self._student, mean, self._experiment.resident.public.inputs[received.chosen])
        return ServerUpdate()

    def _load(self, model: nn.Module, state: Arrays, samples: Tensor) -> None:
        """Give the model what clients sent; what they kept is the student's, and statistics are those of samples."""
        sent = {name: torch.from_numpy(array) for name, array in state.items()}
        model.load_state_dict(self._student.state_dict() | sent)
        if self._experiment.config.clients.keep_batch_norm != "none":
            estimate_statistics(model, samples)

    def state_dict(self) -> dict[str, Any]:
        return {"student": self._student.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._student.load_state_dict(state["student"])
