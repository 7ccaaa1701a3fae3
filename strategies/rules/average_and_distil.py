"""Averages of parameters, refined by ensemble distillation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fedkd import LogitAggregator, StudentRule, Teacher
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import Arrays, ClientReport, parameter_prefix, state_arrays
from fedkd.distillation.distiller import DistillationResult
from fedkd.distillation.validation import Validation
from fedkd.experiment import STUDENT, Experiment
from fedkd.server.averaging import answer_fault, answers_of, average_states, parameters_of
from fedkd.server.evaluation import teacher_accuracy_on_test
from fedkd.server.setup import new_distiller, new_strategy, teacher_of
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
    needs_examples: ClassVar[bool] = True

    _experiment: Experiment = field(init=False, repr=False)
    _strategy: LogitAggregator = field(init=False, repr=False)
    _models: list[nn.Module] = field(init=False, repr=False)
    _answers: dict[int, Tensor] = field(init=False, repr=False, default_factory=dict)
    """Of a round's clients, what their models say on its public samples; from ``fault``, for ``update``."""

    def begin(self, experiment: Experiment) -> None:
        self._experiment, self._strategy = experiment, new_strategy(experiment)
        self._models = [experiment.initial_model(index) for index in range(len(experiment.architectures))]

    @property
    def student(self) -> nn.Module:
        return self._models[STUDENT]

    @property
    def strategy(self) -> LogitAggregator:
        return self._strategy

    def broadcast(self) -> Arrays:
        return {
            parameter_prefix(index) + name: array
            for index, model in enumerate(self._models)
            if index in self._in_use
            for name, array in state_arrays(model.state_dict()).items()
        }

    def fault(self, report: ClientReport) -> str | None:
        experiment, public = self._experiment, self._experiment.resident.public
        chosen = public.subset(experiment.config.data.public.round_size, experiment.config.seed, report.round)
        with fixed_threads(experiment.config.engine.server_threads):
            self._answers[report.client] = answers_of(experiment, report, public.inputs[chosen])
        return answer_fault(self._answers[report.client])

    def update(self, received: RoundReports) -> ServerUpdate:
        public, chosen = self._experiment.resident.public, received.chosen
        labels = public.labels[chosen]
        inputs = public.inputs[chosen]
        if received.probe:
            inputs = torch.cat([inputs, self._experiment.resident.test_inputs[:]])
        known, self._answers = {} if received.probe else self._answers, {}
        logits = torch.stack(
            [
                known[each.client] if each.client in known else answers_of(self._experiment, each, inputs)
                for each in received.reports
            ]
        )
        asked = chosen.numel()
        reports = [replace(each, logits=own[:asked]) for each, own in zip(received.reports, logits, strict=True)]
        tests = {
            each.client: replace(each, logits=own[asked:])
            for each, own in zip(reports, logits, strict=True)
            if bool(torch.isfinite(own).all())
        }
        ensemble = None
        if received.probe:
            ensemble = teacher_accuracy_on_test(
                self._experiment, self._strategy, reports, tests, labels=labels, round=received.round
            )
        teacher = teacher_of(self._experiment, self._strategy, reports, labels=labels, round=received.round)
        self._average(received)
        distilled = None
        for index in range(len(self._models)):
            if index == STUDENT or (self.refine and index in self._in_use):
                result = self._distil(index, teacher, received)
                distilled = result if index == STUDENT else distilled
        return ServerUpdate(Targets(chosen, teacher), None, distilled, ensemble)

    def state_dict(self) -> dict[str, Any]:
        return {"models": [model.state_dict() for model in self._models], "teacher": self._strategy.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for model, saved in zip(self._models, state["models"], strict=True):
            model.load_state_dict(saved)
        self._strategy.load_state_dict(state["teacher"])

    @property
    def _in_use(self) -> set[int]:
        """The architectures that clients have."""
        return {self._experiment.architecture_of(client) for client in range(self._experiment.config.clients.count)}

    def _average(self, received: RoundReports) -> None:
        for index, model in enumerate(self._models):
            group = [report for report in received.reports if self._experiment.architecture_of(report.client) == index]
            if group:
                states = [parameters_of(report, index) for report in group]
                mean = average_states(states, [report.examples for report in group])
                model.load_state_dict({name: torch.from_numpy(array) for name, array in mean.items()})

    def _distil(self, index: int, teacher: Teacher, received: RoundReports) -> DistillationResult:
        public, chosen = self._experiment.resident.public, received.chosen
        held_out = public.validation[chosen]
        return new_distiller(self._experiment, self._models[index]).distil(
            teacher,
            public.inputs[chosen],
            public.labels[chosen],
            round=received.round,
            validation=Validation(held_out, public.told[chosen][held_out]),
            progress=received.progress,
        )
