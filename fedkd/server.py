"""The server's side of a round, whatever engine does the clients' work."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedkd import plugins
from fedkd.aggregation import Expectation, LogitAggregator, ReportStack, collect_reports, stack_reports
from fedkd.config import to_json
from fedkd.distillation import Distiller, StepRow, Validation
from fedkd.errors import RunError
from fedkd.evaluation import Diagnosis, ValidationReport, accuracy, diagnose, hit_rate, predict, validate_student
from fedkd.local.workspace import Workspace
from fedkd.records import RoundRecord
from fedkd.seeding import numpy_generator, torch_generator
from fedkd.threads import fixed_threads
from fedkd.types import UNKNOWN_LABEL, Arrays, ClientReport, Job, Outcome, Teacher, state_arrays

Progress = Callable[[int, int], None]
SEED_BYTES = 8
"""What telling a client the seed of a round's public subset costs."""


@dataclass(frozen=True)
class RoundResult:
    """A finished round: its record, its distillation steps, and the ensemble's test accuracy where it was asked for."""

    record: RoundRecord
    rows: tuple[StepRow, ...]
    ensemble_accuracy: float | None


class Server:
    """Holds the student and the teacher's state; turns the clients' outcomes of a round into the next student."""

    def __init__(self, place: Workspace, aggregator: LogitAggregator, distiller: Distiller) -> None:
        self.place = place
        self.aggregator = aggregator
        self.distiller = distiller
        self._last_report: ValidationReport | None = None

    @classmethod
    def build(cls, place: Workspace) -> "Server":
        """The server that the configuration describes, before the first round."""
        config = place.config
        balancer, temperature = config.distillation.balancer, config.distillation.temperature
        distiller = Distiller(
            place.initial_student(),
            plugins.build(plugins.BALANCER, balancer.name, balancer.options),
            config.distillation,
            temperature=plugins.build(plugins.TEMPERATURE, temperature.name, temperature.options),
            seed=config.seed,
            rounds=config.rounds,
            pseudo_labels=config.data.public.pseudo_labels,
        )
        return cls(place, plugins.build(plugins.TEACHER, config.teacher.name, config.teacher.options), distiller)

    def sampled(self, round: int) -> tuple[int, ...]:
        """The ids of the clients that take part in a round, in rising order."""
        clients, seed = self.place.config.clients, self.place.config.seed
        draw = numpy_generator(seed, round=round, purpose="client sampling")
        return tuple(
            sorted(int(client) for client in draw.choice(clients.count, size=clients.per_round, replace=False))
        )

    def job(self, round: int, *, probe: bool = False) -> Job:
        """What the clients are asked for in a round."""
        return Job("distil", round, to_json(self.place.config), self.parameters(), probe=probe)

    def parameters(self) -> Arrays:
        """The student's state."""
        return state_arrays(self.distiller.student.state_dict())

    def finish_round(
        self, job: Job, outcomes: Iterable[Outcome], progress: Progress = lambda done, total: None
    ) -> RoundResult:
        """Validate, aggregate, distil and evaluate.

        Raises ``RunError`` when fewer than ``clients.min_reports`` reports are valid.
        """
        config, data = self.place.config, self.place.data
        asked = self.sampled(job.round)
        chosen = data.public.subset(config.data.public.round_size, config.seed, job.round)
        answers = list(outcomes)
        expected = Expectation(job.round, asked, chosen.numel(), data.classes, data.public.digest)
        reports, failures = collect_reports(answers, expected)
        if len(reports) < config.clients.min_reports:
            reasons = "; ".join(f"client {failure.client}: {failure.reason}" for failure in failures[:5])
            raise RunError(
                f"round {job.round}: {len(reports)} valid reports, clients.min_reports is {config.clients.min_reports} "
                f"({reasons}); the rounds before it are kept"
            )
        with fixed_threads(config.engine.server_threads):
            labels = data.public.labels[chosen]
            probe = self._probe(job, answers, reports, labels)
            teacher = self.aggregator(self._stack(job, reports, labels))
            distilled = self.distiller.distil(
                teacher,
                data.public.images[chosen],
                labels,
                round=job.round,
                validation=self._validation(chosen),
                progress=progress,
            )
            report = self._validate(teacher, chosen)
            record = RoundRecord(
                round=job.round,
                student_accuracy=accuracy(self.distiller.student, data.test_images, data.test_labels),
                validation_accuracy=None if report is None else report.accuracy,
                teacher_accuracy=self._teacher_accuracy(teacher, chosen),
                mean_lambda=distilled.mean_lambda,
                loss_dist=distilled.loss_dist,
                loss_cls=distilled.loss_cls,
                temperature=distilled.temperature,
                bytes_up=sum(report.bytes_up for report in reports),
                bytes_down=len(asked) * (SEED_BYTES + sum(array.nbytes for array in job.parameters.values())),
                clients=asked,
                failures=tuple(failures),
                validation=report,
                diagnosis=None if report is None else self._diagnose(report),
            )
            self._last_report = report
        return RoundResult(record, distilled.rows, probe)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next round depends on."""
        return {
            "distiller": self.distiller.state_dict(),
            "teacher": self.aggregator.state_dict(),
            "validation": None if self._last_report is None else asdict(self._last_report),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self.distiller.load_state_dict(state["distiller"])
        self.aggregator.load_state_dict(state["teacher"])
        self._last_report = None if state["validation"] is None else ValidationReport(**state["validation"])

    def _stack(self, job: Job, reports: list[ClientReport], labels: Tensor) -> ReportStack:
        seed = self.place.config.seed
        return stack_reports(
            reports, labels, round=job.round, generator=torch_generator(seed, round=job.round, purpose="teacher")
        )

    def _probe(self, job: Job, answers: list[Outcome], reports: list[ClientReport], labels: Tensor) -> float | None:
        """The ensemble's accuracy on the test images, whose labels it is not given; leaves its state alone."""
        if not job.probe:
            return None
        tests, classes = self.place.data.test_labels, self.place.data.classes
        extra = {
            answer.client: torch.from_numpy(array)
            for answer in answers
            if (array := answer.arrays.get("probe")) is not None
            and array.shape == (tests.numel(), classes)
            and bool(np.isfinite(array).all())
        }
        longer = [
            replace(report, logits=torch.cat([report.logits, extra[report.client]]), mask=None)
            for report in reports
            if report.client in extra
        ]
        if not longer:
            return None
        unknown = torch.cat([labels, torch.full_like(tests, UNKNOWN_LABEL)])
        teacher = copy.deepcopy(self.aggregator)(self._stack(job, longer, unknown))
        return hit_rate(teacher.log_probabilities[labels.numel() :], tests)

    def _validation(self, chosen: Tensor) -> Validation:
        public = self.place.data.public
        mask = public.validation[chosen]
        return Validation(mask, public.truth[chosen][mask])

    def _validate(self, teacher: Teacher, chosen: Tensor) -> ValidationReport | None:
        public = self.place.data.public
        held_out = self._validation(chosen)
        if held_out.empty:
            return None
        logits = predict(self.distiller.student, public.images[chosen][held_out.mask])
        return validate_student(logits, teacher.log_probabilities[held_out.mask], held_out.labels)

    def _diagnose(self, report: ValidationReport) -> Diagnosis:
        return diagnose(report, public_only=None, previous=self._last_report, classes=self.place.data.classes)

    def _teacher_accuracy(self, teacher: Teacher, chosen: Tensor) -> float | None:
        public = self.place.data.public
        hidden = (public.labels[chosen] == UNKNOWN_LABEL) & (public.truth[chosen] != UNKNOWN_LABEL)
        if not bool(hidden.any()):
            return None
        return hit_rate(teacher.log_probabilities[hidden], public.truth[chosen][hidden])
