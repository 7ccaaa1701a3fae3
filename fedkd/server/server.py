"""The server's side of a round, whatever engine does the clients' work."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.types import ReportSum
from fedkd.client.rule import ClientRule
from fedkd.config.load import to_json
from fedkd.core import plugins
from fedkd.core.compute import fixed_threads, release_memory
from fedkd.core.errors import RunError
from fedkd.core.messages import (
    LABEL_COUNTS,
    LOGITS,
    TEST_LOGITS,
    TEST_MASK,
    UNKNOWN_LABEL,
    ClientReport,
    Consensus,
    Job,
    Reply,
    Traffic,
)
from fedkd.distillation.balanced_step import StepRow
from fedkd.distillation.diagnosis import Diagnosis, ValidationReport, diagnose, validate_student
from fedkd.distillation.distiller import DistillationResult
from fedkd.experiment import Experiment
from fedkd.models import accuracy, hit_rate, predict
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.results.records import ClientRecord, Failure, RoundRecord, SecureRecord
from fedkd.server.colluding_attackers import collude
from fedkd.server.exchange import Exchange
from fedkd.server.privacy_budget import private_part_of, release_of
from fedkd.server.reports import Expectation, collect_reports
from fedkd.server.secure_round import RunJob, SecureResult, sum_once
from fedkd.server.setup import teacher_generator
from fedkd.server.student_rule import RoundReports, ServerUpdate, StudentRule
from fedkd.server.target_cache import Targets

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RoundResult:
    """A finished round: its record, its clients' rows, its distillation steps, and what was measured for controls."""

    record: RoundRecord
    clients: tuple[ClientRecord, ...]
    rows: tuple[StepRow, ...]
    ensemble_accuracy: float | None


class Server:
    """Sends out a round's work and turns the clients' replies into what the student rule makes of them.

    ``state_dir`` is where simulated clients keep what they need between rounds. ``private`` is the part of the
    experiment that has a proof, if there is one, and ``ledger`` what it has taken of each client's privacy.
    """

    def __init__(self, experiment: Experiment, rule: StudentRule, *, state_dir: str | None = None) -> None:
        client = experiment.config.clients.rule
        self.experiment = experiment
        self.rule = rule
        self._client_rule: ClientRule = plugins.build(plugins.CLIENT_RULE, client.name, client.options)
        self._exchange = Exchange(experiment, self._client_rule)
        self._state_dir = state_dir
        self._consensus: Consensus | None = None
        self._last_report: ValidationReport | None = None
        self.private = private_part_of(experiment.config)
        self.ledger = PrivacyLedger()

    @classmethod
    def build(cls, experiment: Experiment, *, state_dir: str | None = None) -> "Server":
        """The server that the configuration describes, before the first round."""
        spec = experiment.config.student.rule
        rule: StudentRule = plugins.build(plugins.STUDENT_RULE, spec.name, spec.options)
        rule.begin(experiment)
        return cls(experiment, rule, state_dir=state_dir)

    def sampled(self, round: int) -> tuple[int, ...]:
        """The ids of the clients that take part in a round, in rising order."""
        return self.experiment.sampled(round)

    def charge(self, round: int) -> None:
        """Note what a round takes of its clients' privacy, before anything is released.

        Does nothing where nothing is proved. Save the ledger before the clients are asked.
        """
        if self.private is None:
            return
        asked = int(self.rule.to_ask(round, self._chosen(round)).sum())
        for client in self.sampled(round):
            self.ledger.charge(client, round, self.private.dp_event(release_of(self.experiment, client, asked)))

    def job(self, round: int, *, probe: bool = False) -> Job:
        """What the clients are asked for in a round."""
        asked = self.rule.to_ask(round, self._chosen(round))
        clients = self.sampled(round)
        shared, personal = self._exchange.outgoing(round, clients, self.rule, self._consensus, asked)
        aggregator: type[LogitAggregator] = plugins.resolve(plugins.STRATEGY, self.experiment.config.strategy.name)
        return Job(
            "round",
            round,
            to_json(self.experiment.config),
            shared,
            personal,
            probe,
            self._state_dir,
            self._exchange.accepted(clients),
            frozenset({LABEL_COUNTS}) if self.rule.teaches and aggregator.needs_label_counts else frozenset(),
        )

    def run_round(self, job: Job, run: RunJob, progress: Progress = lambda done, total: None) -> RoundResult:
        """A whole round: ``run`` has some clients do a job, once, or once for each step of a secure sum.

        Raises ``RunError`` as ``finish_round`` does, or when a secure sum fails.
        """
        if self.experiment.config.privacy.secure_aggregation is None:
            return self.finish_round(job, run(job, self.sampled(job.round)), progress)
        return self._finish_securely(job, run, progress)

    def finish_round(
        self, job: Job, replies: Iterable[Reply], progress: Progress = lambda done, total: None
    ) -> RoundResult:
        """Validate the reports, learn from them, and evaluate.

        Raises ``RunError`` when fewer than ``clients.min_reports`` reports are valid.
        """
        config = self.experiment.config
        clients = self.sampled(job.round)
        chosen = self._chosen(job.round)
        asked = chosen[self.rule.to_ask(job.round, chosen)]
        answers: list[Reply] = []
        reports, failures = collect_reports(_noted(replies, answers), self._expectation(job, clients, asked))
        if len(reports) < config.clients.min_reports:
            reasons = "; ".join(f"client {failure.client}: {failure.reason}" for failure in failures[:5])
            raise RunError(
                f"round {job.round}: {len(reports)} valid reports, clients.min_reports is {config.clients.min_reports} "
                f"({reasons}); the rounds before it are kept"
            )
        release_memory()
        self._exchange.delivered()
        for report in reports:
            self._exchange.accept(report, asked)
        tests = self._tests(reports)
        reports, tests = collude(self.experiment, job.round, reports, tests, self._exchange.recoded)
        rows = self._client_records(job, answers, reports)
        return self._learn(
            RoundReports(job.round, reports, chosen, asked, tests, progress, job.probe), rows, failures=tuple(failures)
        )

    def _finish_securely(self, job: Job, run: RunJob, progress: Progress) -> RoundResult:
        """The round with nothing but the sum of its reports."""
        public, chosen = self.experiment.data.public, self._chosen(job.round)
        asked = chosen[self.rule.to_ask(job.round, chosen)]
        result = sum_once(self.experiment, job, asked.numel(), run)
        self._exchange.delivered()
        nothing = torch.zeros(0, self.experiment.data.classes)
        for client in result.survivors:
            self._exchange.accept(ClientReport(client, job.round, nothing, examples=0), asked)
        summed = ReportSum(
            total=result.total,
            count=len(result.survivors),
            labels=public.labels[asked],
            round=job.round,
            generator=teacher_generator(self.experiment, job.round),
        )
        return self._learn(
            RoundReports(job.round, (), chosen, asked, progress=progress, summed=summed),
            self._secure_records(job, result),
            failures=result.account.failures,
            secure=result.account.record,
        )

    def _learn(
        self,
        answers: RoundReports,
        rows: tuple[ClientRecord, ...],
        *,
        failures: tuple[Failure, ...],
        secure: SecureRecord | None = None,
    ) -> RoundResult:
        """Learn from a round's answers, evaluate, and put down what came of it."""
        with fixed_threads(self.experiment.config.engine.server_threads):
            update = self.rule.update(answers)
            validation = self._validate(update.targets)
            student = self.rule.student
            tested = update.student_accuracy if student is None else self._accuracy(student)
        record = self._record(answers.round, self.sampled(answers.round), update, tested, validation, rows)
        self._consensus, self._last_report = update.consensus, validation
        steps = () if update.distilled is None else update.distilled.rows
        return RoundResult(replace(record, failures=failures, secure=secure), rows, steps, update.ensemble_accuracy)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next round depends on."""
        return {
            "rule": self.rule.state_dict(),
            "exchange": self._exchange.state_dict(),
            "consensus": None if self._consensus is None else vars(self._consensus),
            "validation": None if self._last_report is None else asdict(self._last_report),
            "ledger": self.ledger.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned; what the ledger was charged before stays charged."""
        self.rule.load_state_dict(state["rule"])
        self._exchange.load_state_dict(state["exchange"])
        self._consensus = None if state["consensus"] is None else Consensus(**state["consensus"])
        self._last_report = None if state["validation"] is None else ValidationReport(**state["validation"])
        self.ledger.load_state_dict(state["ledger"])

    def _chosen(self, round: int) -> Int[Tensor, " chosen"]:
        config = self.experiment.config
        return self.experiment.data.public.subset(config.data.public.round_size, config.seed, round)

    def _expectation(self, job: Job, clients: tuple[int, ...], asked: Tensor) -> Expectation:
        data = self.experiment.data
        logits = self._client_rule.sends == LOGITS
        return Expectation(
            job.round,
            clients,
            data.classes,
            data.public.digest,
            decode=(lambda client, message: self._exchange.decode(client, message, asked)) if logits else None,
            wants=job.wants,
            fault=self.rule.fault,
            tests=data.test_labels.numel() if job.probe else 0,
            keeps_codes=self._exchange.keeps_codes,
        )

    def _tests(self, reports: list[ClientReport]) -> dict[int, ClientReport]:
        """The valid clients' logits on the test samples, where they were asked for them."""
        shape = (self.experiment.data.test_labels.numel(), self.experiment.data.classes)
        found = {}
        for report in reports:
            logits, mask = report.arrays.get(TEST_LOGITS), report.arrays.get(TEST_MASK)
            if logits is not None and logits.shape == shape:
                # Without logits on public samples they are still part of a message, which cannot be written to.
                writable = logits if logits.flags.writeable else logits.copy()
                found[report.client] = replace(
                    report,
                    logits=torch.from_numpy(writable),
                    mask=None if mask is None else torch.from_numpy(mask.copy()),
                )
        return found

    def _accuracy(self, student: torch.nn.Module) -> float:
        data = self.experiment.resident
        return accuracy(student, data.test_inputs, data.test_labels)

    def _record(
        self,
        round: int,
        clients: tuple[int, ...],
        update: ServerUpdate,
        tested: float | None,
        validation: ValidationReport | None,
        rows: tuple[ClientRecord, ...],
    ) -> RoundRecord:
        distilled: DistillationResult | None = update.distilled
        own = [row.validation_accuracy for row in rows if row.validation_accuracy is not None]
        return RoundRecord(
            round=round,
            student_accuracy=tested,
            validation_accuracy=None if validation is None else validation.accuracy,
            teacher_accuracy=None if update.targets is None else self._teacher_accuracy(update.targets),
            client_accuracy=float(np.mean(own)) if own else None,
            mean_lambda=None if distilled is None else distilled.mean_lambda,
            loss_dist=None if distilled is None else distilled.loss_dist,
            loss_cls=None if distilled is None else distilled.loss_cls,
            temperature=None if distilled is None else distilled.temperature,
            bytes_up=sum(row.sent.total for row in rows),
            bytes_down=sum(row.received.total for row in rows),
            clients=clients,
            validation=validation,
            diagnosis=None if validation is None else self._diagnose(validation),
        )

    def _client_records(self, job: Job, answers: list[Reply], reports: list[ClientReport]) -> tuple[ClientRecord, ...]:
        """One row for every client asked; one whose report was dropped sent nothing that counts."""
        metrics = {answer.client: answer.metrics for answer in answers}
        sent = {report.client: report.sent for report in reports}
        rows = []
        for client in self.sampled(job.round):
            found = metrics.get(client, {}) if client in sent else {}
            validation, test = found.get("validation_accuracy"), found.get("test_accuracy")
            rows.append(
                ClientRecord(
                    round=job.round,
                    client=client,
                    model=self.experiment.architectures[self.experiment.architecture_of(client)].name,
                    sent=sent.get(client, Traffic()),
                    received=self._exchange.sent_down(job, client),
                    validation_accuracy=None if validation is None else float(validation),
                    test_accuracy=None if test is None else float(test),
                )
            )
        return tuple(rows)

    def _secure_records(self, job: Job, result: SecureResult) -> tuple[ClientRecord, ...]:
        """One row for every client asked, with what it cost and nothing else."""
        return tuple(
            ClientRecord(
                round=job.round,
                client=client,
                model=self.experiment.architectures[self.experiment.architecture_of(client)].name,
                sent=result.account.sent.get(client, Traffic()),
                received=self._exchange.sent_down(job, client) + result.account.received.get(client, Traffic()),
            )
            for client in self.sampled(job.round)
        )

    def _validate(self, targets: Targets | None) -> ValidationReport | None:
        public, student = self.experiment.resident.public, self.rule.student
        if targets is None or student is None:
            return None
        mask = public.validation[targets.positions]
        held_out = targets.positions[mask]
        if held_out.numel() == 0:
            return None
        logits = predict(student, public.inputs[held_out])
        return validate_student(logits, targets.teacher.log_probabilities[mask], public.truth[held_out])

    def _diagnose(self, report: ValidationReport) -> Diagnosis:
        return diagnose(report, public_only=None, previous=self._last_report, classes=self.experiment.data.classes)

    def _teacher_accuracy(self, targets: Targets) -> float | None:
        """Where the server does not know the class and the simulator does."""
        public, known = self.experiment.data.public, targets.positions
        hidden = (public.labels[known] == UNKNOWN_LABEL) & (public.truth[known] != UNKNOWN_LABEL)
        if not bool(hidden.any()):
            return None
        return hit_rate(targets.teacher.log_probabilities[hidden], public.truth[known][hidden])


def _noted(replies: Iterable[Reply], notes: list[Reply]) -> Iterator[Reply]:
    """The replies, each noted without its arrays, which take much memory and are not needed twice."""
    for reply in replies:
        notes.append(replace(reply, arrays={}))
        yield reply
