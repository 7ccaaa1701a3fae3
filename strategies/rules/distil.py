"""A student that learns from the ensemble teacher."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fedkd import LogitAggregator, StudentRule, Teacher
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import (
    CONSENSUS,
    LABELS,
    PARAMETERS,
    UNKNOWN_LABEL,
    Arrays,
    Consensus,
    parameter_prefix,
    state_arrays,
)
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.models import predict
from fedkd.server.evaluation import teacher_accuracy_on_test
from fedkd.server.setup import new_distiller, new_strategy, teacher_of
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
    _strategy: LogitAggregator = field(init=False, repr=False)
    trainer: Distiller = field(init=False, repr=False)

    def begin(self, experiment: Experiment) -> None:
        self._experiment, self._strategy = experiment, new_strategy(experiment)
        self.trainer = new_distiller(experiment, experiment.initial_model())
        self._cache = TargetCache(
            experiment.config.communication.cache_rounds, experiment.data.public.labels.numel(), self.memory
        )
        if self.pretrain_steps > 0:
            public = experiment.data.public
            with fixed_threads(experiment.config.engine.server_threads):
                self.trainer.fit_labels(public.inputs, public.labels, round=0, steps=self.pretrain_steps)

    @property
    def needs_labels(self) -> bool:
        return self.pretrain_steps > 0

    @property
    def student(self) -> nn.Module:
        return self.trainer.student

    @property
    def strategy(self) -> LogitAggregator:
        return self._strategy

    def to_ask(self, round: int, chosen: Tensor) -> Tensor:
        # Labelled samples are always asked about: teachers are fitted and validated on the received.
        public = self._experiment.data.public
        kept = self._cache.fresh(round, chosen) & (public.labels[chosen] == UNKNOWN_LABEL) & ~public.validation[chosen]
        return ~kept

    def broadcast(self) -> Arrays:
        prefix = parameter_prefix(0)
        return {prefix + name: array for name, array in state_arrays(self.student.state_dict()).items()}

    def update(self, received: RoundReports) -> ServerUpdate:
        public = self._experiment.resident.public
        ensemble = teacher_accuracy_on_test(
            self._experiment,
            self._strategy,
            received.reports,
            received.tests,
            labels=public.labels[received.asked],
            round=received.round,
        )
        latest = self._aggregate(received)
        targets = self._cache.merge(received.round, latest, received.asked, received.chosen)
        known = targets.positions
        held_out = public.validation[known]
        distilled = self.trainer.distil(
            targets.teacher,
            public.inputs[known],
            public.labels[known],
            round=received.round,
            validation=Validation(held_out, public.told[known][held_out]),
            progress=received.progress,
        )
        return ServerUpdate(targets, self._consensus(targets, latest, received), distilled, ensemble)

    def state_dict(self) -> dict[str, Any]:
        return {
            "distiller": self.trainer.state_dict(),
            "teacher": self._strategy.state_dict(),
            "cache": self._cache.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.trainer.load_state_dict(state["distiller"])
        self._strategy.load_state_dict(state["teacher"])
        self._cache.load_state_dict(state["cache"])

    def _aggregate(self, received: RoundReports) -> Teacher | None:
        """The teacher on what was asked; None when all targets were still fresh."""
        if received.asked.numel() == 0:
            return None
        if received.summed is not None:
            return self._strategy.from_sum(received.summed)
        labels = self._experiment.data.public.labels[received.asked]
        return teacher_of(self._experiment, self._strategy, received.reports, labels=labels, round=received.round)

    def _consensus(self, targets: Targets, latest: Teacher | None, received: RoundReports) -> Consensus:
        """What clients are sent of the samples of this round."""
        chosen = received.chosen
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
            personal = dict(zip((report.client for report in received.reports), own, strict=True))
        return Consensus(chosen, found, mask, personal)
