"""The server's side of a round, whatever engine does the clients' work."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.aggregation.types import ReportSum
from fedkd.client.setup import client_rule, states_examples
from fedkd.config.load import to_json
from fedkd.core.array_specs import most_bytes
from fedkd.core.compute import fixed_threads, release_memory
from fedkd.core.errors import RunError
from fedkd.core.messages import LABEL_COUNTS, LOGITS, ClientReport, Consensus, Job, Reply, Traffic
from fedkd.distillation.balanced_step import StepRow
from fedkd.distillation.diagnosis import ValidationReport, diagnose
from fedkd.experiment import Experiment
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.privacy.private import Private
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.results.records import ClientRecord, Failure, RoundRecord, SecureRecord
from fedkd.server.accountant import Accountant, Keep
from fedkd.server.circumstances import circumstances_of
from fedkd.server.colluding_attackers import collude
from fedkd.server.evaluation import accuracy_on_test, features_on_test, reports_on_test, validation_of
from fedkd.server.exchange import Exchange
from fedkd.server.reports import Collected, Expectation, collect_reports, names_client
from fedkd.server.round_records import client_records, round_record
from fedkd.server.secure_round import RunJob, secure_bytes, sum_once
from fedkd.server.setup import new_strategy, new_student_rule, parts_of, strategy_generator, strategy_noise
from fedkd.server.student_rule import RoundReports, StudentRule, update_of

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

    ``state_dir`` is where simulated clients keep what they need between rounds; ``keep`` writes down what was charged
    of their privacy, before anything is released. ``directory`` has the public keys of a deployment's clients, for
    secure sums (None: a simulation's).
    """

    def __init__(
        self,
        experiment: Experiment,
        rule: StudentRule,
        *,
        state_dir: str | None = None,
        directory: Directory | None = None,
        keep: Keep = lambda charges: None,
    ) -> None:
        self.experiment = experiment
        self.rule = rule
        self._client_rule = client_rule(experiment)
        self._exchange = Exchange(experiment, self._client_rule)
        self._state_dir, self._directory = state_dir, directory
        self._consensus: Consensus | None = None
        self._last_report: ValidationReport | None = None
        self.accountant = Accountant(experiment, keep)
        counts = rule.teaches and new_strategy(experiment).needs_label_counts
        self._wants = frozenset({LABEL_COUNTS}) if counts else frozenset()

    @classmethod
    def build(
        cls,
        experiment: Experiment,
        *,
        state_dir: str | None = None,
        directory: Directory | None = None,
        keep: Keep = lambda charges: None,
    ) -> "Server":
        """The server that the configuration describes, before the first round."""
        rule = new_student_rule(experiment)
        rule.begin(experiment)
        return cls(experiment, rule, state_dir=state_dir, directory=directory, keep=keep)

    def sampled(self, round: int) -> tuple[int, ...]:
        """The ids of the clients that take part in a round, in rising order."""
        return self.experiment.sampled(round)

    @property
    def private(self) -> Private | None:
        """The part of the experiment that has a proof, if there is one."""
        return self.accountant.private

    @property
    def accepted(self) -> Mapping[int, int]:
        """The last round of which a client's report was accepted, by client, for those of whom there is one."""
        return self._exchange.accepted(tuple(range(self.experiment.config.clients.count)))

    @property
    def ledger(self) -> PrivacyLedger:
        """What that has taken of each client's privacy."""
        return self.accountant.ledger

    def charge(self, job: Job) -> None:
        """Charge what asking the round's clients takes of their privacy, and keep that, before they are asked."""
        asked = int(self.rule.to_ask(job.round, self._chosen(job.round)).sum())
        self.accountant.ask(job, self.sampled(job.round), asked)

    def job(self, round: int, *, probe: bool = False) -> Job:
        """What the clients are asked for in a round."""
        asked = self.rule.to_ask(round, self._chosen(round))
        clients = self.sampled(round)
        shared, personal = self._exchange.outgoing(round, clients, self.rule, self._consensus, asked)
        job = Job(
            "round",
            round,
            to_json(self.experiment.config),
            shared,
            personal,
            measure=True,
            probe=probe,
            state_dir=self._state_dir,
            accepted=self._exchange.accepted(clients),
            wants=self._wants,
        )
        return replace(job, most_bytes=self._most_bytes(job, int(asked.sum())))

    def _most_bytes(self, job: Job, asked: int) -> int:
        """The most bytes that any client's answer to a job may take."""
        clients, most = self.sampled(job.round), self.experiment.most_examples
        if self.experiment.config.privacy.secure_aggregation is not None:
            return secure_bytes(asked * self.experiment.data.classes, len(clients))
        return max(
            most_bytes(self._exchange.arrays(job, client, most(client), asked))
            + most_bytes(self._exchange.measured(job, client))
            for client in clients
        )

    def run_round(self, job: Job, run: RunJob, progress: Progress = lambda done, total: None) -> RoundResult:
        """A whole round: ``run`` has some clients do a job, once, or once for each step of a secure sum.

        It is charged before that. Raises ``RunError`` as ``finish_round`` does, or when a secure sum fails.
        """
        self.charge(job)

        def ask(job: Job, clients: Sequence[int]) -> Iterator[Reply]:
            for reply in run(job, clients):
                if names_client(reply):
                    self.accountant.take(reply)
                yield reply

        if self.experiment.config.privacy.secure_aggregation is None:
            return self.finish_round(job, ask(job, self.sampled(job.round)), progress)
        return self._finish_securely(job, ask, progress)

    def finish_round(
        self, job: Job, replies: Iterable[Reply], progress: Progress = lambda done, total: None
    ) -> RoundResult:
        """Validate the reports, learn from them, and evaluate.

        Raises ``RunError`` when fewer than ``clients.min_reports`` reports are valid.
        """
        chosen, asked = self._chosen(job.round), self.asked(job.round)
        found = self.collect(job, replies)
        reports, measured = found.reports, found.measured
        self._require_reports(job.round, len(reports), found.failures)
        release_memory()
        self._exchange.delivered()
        for report in reports:
            self._exchange.accept(report, asked)
            self.accountant.accept(report.client)
        tests = reports_on_test(reports, measured)
        reports, tests = collude(self.experiment, job.round, reports, tests)
        rows = client_records(
            self.experiment,
            job.round,
            {client: self._exchange.sent_down(job, client) for client in self.sampled(job.round)},
            {report.client: report.sent for report in reports},
            measured,
        )
        self.accountant.combine(job.round, self.sampled(job.round), asked.numel(), parts_of(reports))
        features = features_on_test(measured)
        received = RoundReports(job.round, reports, chosen, asked, tests, features, progress, job.probe)
        return self._update(received, rows, [report.client for report in reports], failures=found.failures)

    def asked(self, round: int) -> Int[Tensor, " asked"]:
        """Sorted positions of the public samples that clients answer on in a round."""
        chosen = self._chosen(round)
        return chosen[self.rule.to_ask(round, chosen)]

    def collect(self, job: Job, replies: Iterable[Reply]) -> Collected:
        """The valid reports among replies; nothing is learned from them."""
        return collect_reports(replies, self._expectation(job, self.asked(job.round)))

    def _finish_securely(self, job: Job, run: RunJob, progress: Progress) -> RoundResult:
        """The round with nothing but the sum of its reports."""
        public, chosen, asked = self.experiment.data.public, self._chosen(job.round), self.asked(job.round)

        def charge(attempt: int) -> None:
            self.accountant.sum(job.round, self.sampled(job.round), asked.numel(), attempt)

        result = sum_once(self.experiment, job, asked.numel(), run, self._directory, charge)
        self._exchange.delivered()
        nothing = torch.zeros(0, self.experiment.data.classes)
        for client in result.survivors:
            self._exchange.accept(ClientReport(client, job.round, nothing, examples=0), asked)
            self.accountant.accept(client)
        released = (result.survivors, result.total)
        self.accountant.combine(job.round, self.sampled(job.round), asked.numel(), *released)
        summed = ReportSum(
            total=result.total,
            count=len(result.survivors),
            labels=public.labels[asked],
            round=job.round,
            generator=strategy_generator(self.experiment, job.round),
            noise=strategy_noise(self.experiment, job.round, *released),
        )
        account = result.account
        received = {
            client: self._exchange.sent_down(job, client) + account.received.get(client, Traffic())
            for client in self.sampled(job.round)
        }
        return self._update(
            RoundReports(job.round, (), chosen, asked, progress=progress, summed=summed),
            client_records(self.experiment, job.round, received, account.sent, {}),
            result.survivors,
            failures=account.failures,
            secure=account.record,
        )

    def _update(
        self,
        received: RoundReports,
        rows: tuple[ClientRecord, ...],
        survivors: Sequence[int],
        *,
        failures: tuple[Failure, ...],
        secure: SecureRecord | None = None,
    ) -> RoundResult:
        """Have the student rule take in a round's reports, evaluate, and note what came of it."""
        experiment = self.experiment
        with fixed_threads(experiment.config.engine.server_threads):
            update, student = update_of(self.rule, received), self.rule.student
            tested, validation = update.student_accuracy, None
            if student is not None:
                tested = accuracy_on_test(experiment, student)
                taught_at = None if update.distilled is None else update.distilled.temperature
                if update.targets is not None:
                    validation = validation_of(experiment, student, update.targets, taught_at)
        diagnosis = circumstances = None
        if student is not None and update.targets is not None:
            circumstances = circumstances_of(experiment, received, rows, survivors, self.private)
            diagnosis = diagnose(
                validation,
                public_only=None,
                previous=self._last_report,
                classes=experiment.data.classes,
                circumstances=circumstances,
            )
        record = round_record(
            experiment,
            received.round,
            update,
            rows,
            student_accuracy=tested,
            validation=validation,
            diagnosis=diagnosis,
            circumstances=circumstances,
        )
        self._consensus, self._last_report = update.consensus, validation
        steps = () if update.distilled is None else update.distilled.rows
        attempts = self.accountant.attempts(received.round)
        record = replace(record, failures=failures, secure=secure, attempts=attempts)
        return RoundResult(record, rows, steps, update.ensemble_accuracy)

    def state_dict(self) -> dict[str, Any]:
        """Everything the next round depends on."""
        return {
            "rule": self.rule.state_dict(),
            "exchange": self._exchange.state_dict(),
            "consensus": None if self._consensus is None else vars(self._consensus),
            "validation": None if self._last_report is None else asdict(self._last_report),
            "accountant": self.accountant.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned; what the ledger was charged before stays charged."""
        self.rule.load_state_dict(state["rule"])
        self._exchange.load_state_dict(state["exchange"])
        self._consensus = None if state["consensus"] is None else self._fitting(Consensus(**state["consensus"]))
        self._last_report = None if state["validation"] is None else ValidationReport(**state["validation"])
        self.accountant.load_state_dict(state["accountant"])

    def _fitting(self, consensus: Consensus) -> Consensus:
        """The targets; raises ``ValueError`` for those of other public samples or classes."""
        count, classes = consensus.positions.numel(), self.experiment.data.classes
        shapes = [consensus.log_probabilities.shape, *(own.shape for own in consensus.personal.values())]
        samples = self.experiment.data.public.labels.numel()
        inside = count == 0 or 0 <= int(consensus.positions.min()) <= int(consensus.positions.max()) < samples
        if any(shape != (count, classes) for shape in shapes) or consensus.mask.shape != (count,) or not inside:
            raise ValueError(f"the targets are not on some of {samples} public samples of {classes} classes")
        return consensus

    def _chosen(self, round: int) -> Int[Tensor, " chosen"]:
        config = self.experiment.config
        return self.experiment.data.public.subset(config.data.public.round_size, config.seed, round)

    def _expectation(self, job: Job, asked: Tensor) -> Expectation:
        data = self.experiment.data
        logits = self._client_rule.sends == LOGITS
        return Expectation(
            job.round,
            self.sampled(job.round),
            data.classes,
            data.public.digest,
            self.experiment.most_examples,
            lambda client, examples: self._exchange.arrays(job, client, examples, asked.numel()),
            decode=(lambda client, message: self._exchange.decode(client, message, asked)) if logits else None,
            measured=lambda client: self._exchange.measured(job, client),
            counted=states_examples(self.experiment),
            fault=self.rule.fault,
            tests=data.test_labels.numel() if job.probe else 0,
            keeps_codes=self._exchange.keeps_codes,
        )

    def _require_reports(self, round: int, count: int, failures: Sequence[Failure]) -> None:
        if count < (needed := self.experiment.config.clients.min_reports):
            reasons = "; ".join(f"client {failure.client}: {failure.reason}" for failure in failures[:5])
            raise RunError(
                f"round {round}: {count} valid reports, clients.min_reports is {needed} ({reasons}); "
                "the rounds before it are kept"
            )
