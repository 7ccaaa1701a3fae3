"""Federated distillation as a Flower strategy, for anyone's ServerApp."""

from collections.abc import Iterable
from dataclasses import replace
from logging import INFO, getLogger

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedkd.aggregation import LogitAggregator
from fedkd.config import Plugin
from fedkd.distillation import Distiller
from fedkd.local.workspace import Workspace
from fedkd.performing import LOCAL_PERFORMER
from fedkd.server import Server
from fedkd.types import Job
from fedkd.wire import (
    COHORT_MESSAGE,
    Cohort,
    decode_parameters,
    decode_unaddressed_reply,
    encode_cohort,
    encode_metrics,
    encode_parameters,
)


class FederatedDistillation(Strategy):
    """Clients answer on the public set, ``aggregator`` makes a teacher of the answers, ``trainer`` distils the student.

    The clients' side is ``fedkd.client_app``; ``mechanism`` names the logit mechanism it applies. The clients of a
    round are divided evenly among the nodes of the grid. The arrays of ``start`` are the student's state.

    Raises ``RunError`` from ``aggregate_train`` when fewer than ``clients.min_reports`` reports are valid.
    """

    def __init__(
        self, place: Workspace, aggregator: LogitAggregator, trainer: Distiller, mechanism: Plugin | None = None
    ) -> None:
        if mechanism is not None:
            privacy = replace(place.config.privacy, mechanism=mechanism)
            place = replace(place, config=replace(place.config, privacy=privacy))
        self._server = Server(place, aggregator, trainer)
        self._job: Job | None = None

    def initial_arrays(self) -> ArrayRecord:
        """The student before the first round, for ``start``."""
        return encode_parameters(self._server.parameters())

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message per node that has work; a list, because a grid may go through it twice."""
        nodes = sorted(grid.get_node_ids())
        if not nodes:
            return []
        state = {name: torch.from_numpy(array.copy()) for name, array in decode_parameters(arrays).items()}
        self._server.distiller.student.load_state_dict(state)
        self._job = self._server.job(server_round)
        asked = self._server.sampled(server_round)
        cohorts = [asked[start :: len(nodes)] for start in range(min(len(nodes), len(asked)))]
        seconds = self._server.place.config.engine.timeout
        return [
            Message(encode_cohort(Cohort(self._job, members, LOCAL_PERFORMER, seconds), arrays), node, COHORT_MESSAGE)
            for node, members in zip(nodes, cohorts, strict=False)
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The distilled student, and the numbers of the round."""
        if self._job is None or self._job.round != server_round:
            return None, None
        outcomes = [outcome for reply in replies for outcome in decode_unaddressed_reply(reply)]
        record = self._server.finish_round(self._job, outcomes).record
        metrics = encode_metrics(
            {
                "student_accuracy": record.student_accuracy,
                "validation_accuracy": record.validation_accuracy,
                "teacher_accuracy": record.teacher_accuracy,
                "mean_lambda": record.mean_lambda,
                "failures": len(record.failures),
            }
        )
        return encode_parameters(self._server.parameters()), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """No messages: the student is evaluated on the server."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing to aggregate."""
        return None

    def summary(self) -> None:
        """Log what the strategy is made of."""
        getLogger("flwr").log(
            INFO,
            "Federated distillation: %s teacher, %s balancer, %d clients a round",
            type(self._server.aggregator).__name__,
            type(self._server.distiller.balancer).__name__,
            self._server.place.config.clients.per_round,
        )
