"""Federated distillation as a Flower strategy, for anyone's ServerApp."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from logging import INFO, getLogger

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.app.checks import faults_elsewhere
from fedkd.client.performer import CLIENT_FN
from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.errors import ConfigError
from fedkd.core.messages import Job, Reply, state_arrays
from fedkd.distillation.distiller import Distiller
from fedkd.engines.flower.wire import (
    COHORT_MESSAGE,
    Cohort,
    answered_cohort,
    decode_parameters,
    decode_replies,
    encode_cohort,
    encode_metrics,
    encode_parameters,
)
from fedkd.experiment import Experiment
from fedkd.server.server import Server


class FederatedDistillation(Strategy):
    """Clients answer on the public set, ``aggregator`` makes a teacher of the answers, ``trainer`` distils the student.

    The clients' side is ``fedkd.engines.flower.client_app``; ``mechanism`` names the logit mechanism it applies. The
    clients of a round are divided evenly among the nodes of the grid. The arrays of ``start`` are the student's state.
    ``state_dir`` is where clients keep what they need between rounds, for those that do.

    Raises ``ConfigError`` under secure aggregation, which takes more messages a round than Flower's loop has, and for
    plug-ins defined in a script, which the nodes cannot import;
    ``RunError`` from ``aggregate_train`` when fewer than ``clients.min_reports`` reports are valid.
    """

    def __init__(
        self,
        experiment: Experiment,
        aggregator: LogitAggregator,
        trainer: Distiller,
        mechanism: Plugin | None = None,
        *,
        state_dir: str | None = None,
    ) -> None:
        if problems := faults_elsewhere(experiment.config, "Flower"):
            raise ConfigError(problems)
        if experiment.config.privacy.secure_aggregation is not None:
            raise ConfigError(
                [
                    "privacy.secure_aggregation: a secure sum takes five messages a round and Flower's loop has one; "
                    "set it to null, or run the experiment with fedkd run"
                ]
            )
        if mechanism is not None:
            privacy = replace(experiment.config.privacy, mechanism=mechanism)
            experiment = replace(experiment, config=replace(experiment.config, privacy=privacy), given=experiment.data)
        self._rule = experiment.new(plugins.STUDENT_RULE, Plugin("distil"))
        self._rule.use(experiment, aggregator, trainer)
        self._server = Server(experiment, self._rule, state_dir=state_dir)
        self._job: Job | None = None
        self._asked: dict[int, list[tuple[int, ...]]] = {}

    def initial_arrays(self) -> ArrayRecord:
        """The student as it is, before the first round for ``start``."""
        return encode_parameters(state_arrays(self._rule.student.state_dict()))

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A message per node and class of clients; a list, because a grid may go through it twice."""
        nodes = sorted(grid.get_node_ids())
        if not nodes:
            return []
        state = {name: torch.from_numpy(array.copy()) for name, array in decode_parameters(arrays).items()}
        self._rule.student.load_state_dict(state)
        self._job = self._server.job(server_round)
        self._server.charge(self._job)
        asked = self._server.sampled(server_round)
        by_threads: dict[int, list[int]] = {}
        for client in asked:
            by_threads.setdefault(self._server.experiment.resources_of(client).threads, []).append(client)
        planned = [
            (node, cohort)
            for threads, clients in sorted(by_threads.items())
            for cohort, node in zip(self._cohorts(self._job, clients, threads, len(nodes)), nodes, strict=False)
        ]
        self._asked = {node: [] for node, _ in planned}
        for node, cohort in planned:
            self._asked[node].append(cohort.clients)
        parameters = encode_parameters(self._job.parameters)
        return [Message(encode_cohort(cohort, parameters), node, COHORT_MESSAGE) for node, cohort in planned]

    def _cohorts(self, job: Job, clients: Sequence[int], threads: int, nodes: int) -> list[Cohort]:
        """Clients that use equally many threads, divided evenly among the nodes."""
        seconds = self._server.experiment.config.engine.timeout
        return [
            Cohort(job, tuple(clients[start::nodes]), CLIENT_FN, seconds, threads)
            for start in range(min(nodes, len(clients)))
        ]

    def aggregate_train(
        self, server_round: int, messages: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The distilled student, and the numbers of the round."""
        if self._job is None or self._job.round != server_round:
            return None, None
        record = self._server.finish_round(self._job, self._replies(self._job, messages)).record
        metrics = encode_metrics(
            {
                "student_accuracy": record.student_accuracy,
                "validation_accuracy": record.validation_accuracy,
                "teacher_accuracy": record.teacher_accuracy,
                "mean_lambda": record.mean_lambda,
                "failures": len(record.failures),
            }
        )
        return self.initial_arrays(), metrics

    def _replies(self, job: Job, messages: Iterable[Message]) -> Iterator[Reply]:
        """The replies of clients by the nodes that were asked for them: nobody answers for those of another node."""
        for message in messages:
            cohort = answered_cohort(message, self._asked.get(message.metadata.src_node_id, []))
            if cohort is not None:
                yield from decode_replies(message, cohort, job.most_bytes)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """No messages: the student is evaluated on the server."""
        return []

    def aggregate_evaluate(self, server_round: int, messages: Iterable[Message]) -> MetricRecord | None:
        """Nothing to aggregate."""
        return None

    def summary(self) -> None:
        """Log what the strategy is made of."""
        getLogger("flwr").log(
            INFO,
            "Federated distillation: %s teacher, %s balancer, %d clients a round",
            type(self._rule.strategy).__name__,
            type(self._rule.trainer.balancer).__name__,
            self._server.experiment.config.clients.per_round,
        )
