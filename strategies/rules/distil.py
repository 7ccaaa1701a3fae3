"""A student that learns from the ensemble teacher."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkd import LogitAggregator, ReportStack, StudentRule, Teacher
from fedkd.aggregation.report_buffer import joined
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import (
    CONSENSUS,
    LABELS,
    PARAMETERS,
    UNKNOWN_LABEL,
    Arrays,
    ClientReport,
    Consensus,
    parameter_prefix,
    state_arrays,
)
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.models import hit_rate, predict
from fedkd.server.reports import stack_reports
from fedkd.server.setup import build_aggregator, build_distiller, teacher_generator
from fedkd.server.student_rule import RoundReports, ServerUpdate
from fedkd.server.target_cache import TargetCache, Targets


@dataclass
class Distil(StudentRule):
    """Aggregates the clients' logits into a teacher and distils the student from it, as ``distillation`` says.

    ``consensus`` is what clients with models of their own are sent: the teacher's targets, or what the student makes of
    them (CFD, Sattler et al., arXiv 2012.00632), but for the labelled samples: a student that has learnt their labels
    would hand them on to clients, whose answers then look better than they are. With ``memory`` β > 0, targets are
    averages over rounds that keep a share β of what they were, and the student learns from all targets so far, not only
    from this round's. Before the first round the student may train for ``pretrain_steps`` on the labelled samples, so
    that clients which start from it need to learn less from their own: with DP-SGD, what is learnt before is free.
    """

    consensus: Literal["teacher", "student"] = "teacher"
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.0
    pretrain_steps: Annotated[int, Field(ge=0)] = 0

    needs: ClassVar[str] = "logits"
    offers: ClassVar[frozenset[str]] = frozenset({PARAMETERS, CONSENSUS, LABELS})
    learns_from_sums: ClassVar[bool] = True

    _experiment: Experiment = field(init=False, repr=False)
    _cache: TargetCache = field(init=False, repr=False)
    aggregator: LogitAggregator = field(init=False, repr=False)
    trainer: Distiller = field(init=False, repr=False)

    def begin(self, experiment: Experiment) -> None:
        self.use(experiment, build_aggregator(experiment), build_distiller(experiment, experiment.initial_model()))
        if self.pretrain_steps > 0:
            public = experiment.data.public
            with fixed_threads(experiment.config.engine.server_threads):
                self.trainer.fit_labels(public.inputs, public.labels, round=0, steps=self.pretrain_steps)

    @property
    def needs_labels(self) -> bool:
        return self.pretrain_steps > 0

    def use(self, experiment: Experiment, aggregator: LogitAggregator, trainer: Distiller) -> None:
        """Begin with an aggregator and a trainer other than the configured ones."""
        self._experiment, self.aggregator, self.trainer = experiment, aggregator, trainer
        self._cache = TargetCache(
            experiment.config.communication.cache_rounds, experiment.data.public.labels.numel(), self.memory
        )

    @property
    def student(self) -> nn.Module:
        return self.trainer.student

    def to_ask(self, round: int, chosen: Tensor) -> Tensor:
        # Labelled samples are always asked about: teachers are fitted and validated on the answers.
        public = self._experiment.data.public
        kept = self._cache.fresh(round, chosen) & (public.labels[chosen] == UNKNOWN_LABEL) & ~public.validation[chosen]
        return ~kept

    def broadcast(self) -> Arrays:
        prefix = parameter_prefix(0)
        return {prefix + name: array for name, array in state_arrays(self.student.state_dict()).items()}

    def update(self, answers: RoundReports) -> ServerUpdate:
        public = self._experiment.resident.public
        ensemble = self._probe(answers)
        latest = self._aggregate(answers)
        targets = self._cache.merge(answers.round, latest, answers.asked, answers.chosen)
        known = targets.positions
        held_out = public.validation[known]
        distilled = self.trainer.distil(
            targets.teacher,
            public.inputs[known],
            public.labels[known],
            round=answers.round,
            validation=Validation(held_out, public.truth[known][held_out]),
            progress=answers.progress,
        )
        return ServerUpdate(targets, self._consensus(targets, latest, answers), distilled, ensemble)

    def state_dict(self) -> dict[str, Any]:
        return {
            "distiller": self.trainer.state_dict(),
            "teacher": self.aggregator.state_dict(),
            "cache": self._cache.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.trainer.load_state_dict(state["distiller"])
        self.aggregator.load_state_dict(state["teacher"])
        self._cache.load_state_dict(state["cache"])

    def _aggregate(self, answers: RoundReports) -> Teacher | None:
        """The teacher on what was asked; None when all targets were still fresh."""
        if answers.asked.numel() == 0:
            return None
        if answers.summed is not None:
            return self.aggregator.from_sum(answers.summed)
        labels = self._experiment.data.public.labels[answers.asked]
        return self.aggregator(self._stack(answers.round, answers.reports, labels))

    def _consensus(self, targets: Targets, latest: Teacher | None, answers: RoundReports) -> Consensus:
        """What clients are sent of the samples of this round."""
        chosen = answers.chosen
        places = torch.searchsorted(targets.positions, chosen)
        found = targets.teacher.log_probabilities[places]
        mask = targets.teacher.sample_weight[places] > 0
        if self.consensus == "student":
            public = self._experiment.resident.public
            found = predict(self.student, public.inputs[chosen]).log_softmax(dim=-1)
            mask = mask & (public.labels[chosen] == UNKNOWN_LABEL)
        personal: dict[int, Tensor] = {}
        own = None if latest is None else latest.client_log_probabilities
        if self.consensus == "teacher" and own is not None and own.shape[1] == chosen.numel():
            personal = dict(zip((report.client for report in answers.reports), own, strict=True))
        return Consensus(chosen, found, mask, personal)

    def _stack(self, round: int, reports: Sequence[ClientReport], labels: Tensor) -> ReportStack:
        generator = teacher_generator(self._experiment, round)
        return stack_reports(reports, labels, round=round, generator=generator)

    def _probe(self, answers: RoundReports) -> float | None:
        """The ensemble's accuracy on the test samples, whose labels it is not given; leaves its state alone."""
        reports = [report for report in answers.reports if report.client in answers.tests]
        if not reports:
            return None
        tests, labels = self._experiment.data.test_labels, self._experiment.data.public.labels[answers.asked]
        longer = [_appended(report, answers.tests[report.client]) for report in reports]
        unknown = torch.cat([labels, torch.full_like(tests, UNKNOWN_LABEL)])
        teacher = copy.deepcopy(self.aggregator)(self._stack(answers.round, longer, unknown))
        return hit_rate(teacher.log_probabilities[labels.numel() :], tests)


def _appended(report: ClientReport, more: ClientReport) -> ClientReport:
    """The report with further rows."""
    mask = None
    if report.mask is not None or more.mask is not None:
        mask = torch.cat([_mask(report), _mask(more)])
    return replace(report, logits=joined(report.logits, more.logits), mask=mask)


def _mask(report: ClientReport) -> Tensor:
    return torch.ones(report.logits.shape[0], dtype=torch.bool) if report.mask is None else report.mask
