"""Averages of parameters, refined by ensemble distillation."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fedkd import LogitAggregator, ReportStack, StudentRule, Teacher
from fedkd.core.messages import UNKNOWN_LABEL, Arrays, ClientReport, parameter_prefix, state_arrays
from fedkd.core.seeding import torch_generator
from fedkd.distillation.distiller import DistillationResult
from fedkd.distillation.validation import Validation
from fedkd.experiment import STUDENT, Experiment
from fedkd.models import hit_rate, predict
from fedkd.server.averaging import average_states, parameter_fault, parameters_of
from fedkd.server.reports import stack_reports
from fedkd.server.setup import build_aggregator, build_distiller
from fedkd.server.student_rule import RoundReports, ServerUpdate
from fedkd.server.target_cache import Targets


@dataclass
class AverageAndDistil(StudentRule):
    """FedDF (Lin et al. 2020, arXiv 2006.07242, Algorithms 1 and 3).

    Clients send parameters. Those of one architecture are averaged, weighted by examples, and the average is trained
    further on the public samples, by the teacher made of all clients' models: one such model per architecture, which
    its clients start from in the next round. A student of an architecture that no client has, as in Fed-ET (Cho et al.
    2022, arXiv 2204.12703), is distilled alone and goes on from where it was. With ``refine`` false only the student is
    distilled, and the clients' averages are left as they are. Optimiser and balancer begin anew every round.

    Parameters disclose far more of the private data than logits do.
    """

    refine: bool = True

    needs: ClassVar[str] = "parameters"
    offers: ClassVar[frozenset[str]] = frozenset({"parameters"})
    averages_architectures: ClassVar[bool] = True

    _experiment: Experiment = field(init=False, repr=False)
    _aggregator: LogitAggregator = field(init=False, repr=False)
    _models: list[nn.Module] = field(init=False, repr=False)

    def begin(self, experiment: Experiment) -> None:
        self._experiment, self._aggregator = experiment, build_aggregator(experiment)
        self._models = [experiment.initial_model(index) for index in range(len(experiment.architectures))]

    @property
    def student(self) -> nn.Module:
        return self._models[STUDENT]

    def broadcast(self) -> Arrays:
        return {
            parameter_prefix(index) + name: array
            for index, model in enumerate(self._models)
            if index in self._in_use
            for name, array in state_arrays(model.state_dict()).items()
        }

    def fault(self, report: ClientReport) -> str | None:
        architecture = self._experiment.architecture_of(report.client)
        return parameter_fault(report, architecture, state_arrays(self._models[architecture].state_dict()))

    def update(self, answers: RoundReports) -> ServerUpdate:
        public, chosen = self._experiment.resident.public, answers.chosen
        labels = public.labels[chosen]
        inputs = public.inputs[chosen]
        if answers.probe:
            inputs = torch.cat([inputs, self._experiment.resident.test_inputs])
        logits = torch.stack([predict(self._model_of(report), inputs) for report in answers.reports])
        asked = chosen.numel()
        ensemble = self._ensemble_accuracy(answers, logits, labels) if answers.probe else None
        teacher = self._aggregator(self._stack(answers, logits[:, :asked], labels))
        self._average(answers)
        distilled = None
        for index in range(len(self._models)):
            if index == STUDENT or (self.refine and index in self._in_use):
                result = self._distil(index, teacher, answers)
                distilled = result if index == STUDENT else distilled
        return ServerUpdate(Targets(chosen, teacher), None, distilled, ensemble)

    def state_dict(self) -> dict[str, Any]:
        return {"models": [model.state_dict() for model in self._models], "teacher": self._aggregator.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for model, saved in zip(self._models, state["models"], strict=True):
            model.load_state_dict(saved)
        self._aggregator.load_state_dict(state["teacher"])

    @property
    def _in_use(self) -> set[int]:
        """The architectures that clients have."""
        return {self._experiment.architecture_of(client) for client in range(self._experiment.config.clients.count)}

    def _model_of(self, report: ClientReport) -> nn.Module:
        architecture = self._experiment.architecture_of(report.client)
        return self._experiment.model(parameters_of(report, architecture), architecture)

    def _average(self, answers: RoundReports) -> None:
        for index, model in enumerate(self._models):
            group = [report for report in answers.reports if self._experiment.architecture_of(report.client) == index]
            if group:
                states = [parameters_of(report, index) for report in group]
                mean = average_states(states, [report.examples for report in group])
                model.load_state_dict({name: torch.from_numpy(array) for name, array in mean.items()})

    def _distil(self, index: int, teacher: Teacher, answers: RoundReports) -> DistillationResult:
        public, chosen = self._experiment.resident.public, answers.chosen
        held_out = public.validation[chosen]
        return build_distiller(self._experiment, self._models[index]).distil(
            teacher,
            public.inputs[chosen],
            public.labels[chosen],
            round=answers.round,
            validation=Validation(held_out, public.truth[chosen][held_out]),
            progress=answers.progress,
        )

    def _stack(self, answers: RoundReports, logits: Tensor, labels: Tensor) -> ReportStack:
        generator = torch_generator(self._experiment.config.seed, round=answers.round, purpose="teacher")
        answered = [replace(report, logits=own) for report, own in zip(answers.reports, logits, strict=True)]
        return stack_reports(answered, labels, round=answers.round, generator=generator)

    def _ensemble_accuracy(self, answers: RoundReports, logits: Tensor, labels: Tensor) -> float:
        """The teacher's accuracy on the test samples, whose labels it is not given; leaves its state alone."""
        tests = self._experiment.data.test_labels
        unknown = torch.cat([labels, torch.full_like(tests, UNKNOWN_LABEL)])
        teacher = copy.deepcopy(self._aggregator)(self._stack(answers, logits, unknown))
        return hit_rate(teacher.log_probabilities[labels.numel() :], tests)
