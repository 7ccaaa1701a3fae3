"""Federated distillation as a strategy for anybody's Flower ServerApp, with plain Flower clients."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from logging import INFO, getLogger
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from torch import Tensor, nn

from fedkd.app.plain_clients.protocol import CONSENSUS, POSITIONS, PUBLIC, REQUEST, NDArray, Request, divided
from fedkd.app.plain_clients.replies import Wanted, read_answers
from fedkd.app.plain_clients.roster import Roster
from fedkd.app.plain_clients.run_folder import FinishedRound, RunFolder
from fedkd.app.plain_clients.settings import Broadcast, Options, settle
from fedkd.app.plain_clients.teaching import Lesson, Teaching
from fedkd.config.load import to_mapping
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.faults import told_by_line
from fedkd.core.messages import Consensus, Traffic, state_arrays
from fedkd.core.wording import shown
from fedkd.engines.flower.wire import decode_parameters, encode_parameters
from fedkd.results.lock import locked
from fedkd.results.records import ClientRecord, RoundRecord
from fedkd.server.reports import Collected, collect_reports
from fedkd.server.round_records import round_record
from fedkd.server.student_rule import ServerUpdate

_log = getLogger("flwr")


@dataclass(frozen=True)
class _Asked:
    """A round that is under way: what is wanted of the nodes, and the bytes that each was sent."""

    wanted: Wanted
    positions: Tensor
    sent: Mapping[int, Traffic]


class LogitDistillation(FedAvg):
    """Clients answer on public samples; the server makes a teacher of the answers and distils ``student`` from it.

    For a Flower app of one's own: its clients are any ``@app.train()`` clients, with models, frameworks and data of
    their own, which reply with an ``ArrayRecord({"logits": ...})``, float32 ``[samples, classes]``, such as
    ``logits_of`` makes. Sampling, evaluation and the rounds are those of Flower's ``FedAvg``. docs/flower.md has a
    whole app, and what the messages are.

    ``strategy`` (see `fedkd list strategies`) and ``distillation`` are as in a configuration. ``student`` is trained in
    place. ``public`` are the samples ``[samples, ...]``, ``labels`` their classes, −1 where unknown; those of the last
    samples may be left out. ``broadcast`` is what clients get as ``message.content["arrays"]``: the ``student``'s
    weights, the ``consensus`` (the last round's log-probabilities), or ``nothing``. ``out`` is a folder for the
    results. ``options`` are in ``fedkd.app.plain_clients.settings.Options``.

    Runs are repeated bit by bit when all nodes take part in every round and say their ``partition-id`` in their
    metrics, for Flower's ids of nodes are random. It gives no privacy guarantee by itself.

    Raises ``ConfigError`` with everything that does not fit.
    """

    def __init__(
        self,
        *,
        student: nn.Module,
        public: NDArray | Tensor,
        labels: npt.ArrayLike | Tensor | None = None,
        strategy: str | Mapping[str, Any] = "stacked",
        distillation: Mapping[str, Any] | None = None,
        broadcast: Broadcast = "student",
        out: str | Path | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._settings = settle(strategy, student, public, labels, distillation, broadcast, options)
        super().__init__(**self._settings.flower)
        self._out = None if out is None else Path(out)
        public_set = self._settings.experiment.data.public
        self._digest = public_set.digest
        self._parts = divided(public_set.inputs.numpy()) if self._settings.ship_public else ()
        self._folder: RunFolder | None = None
        self._consensus: Consensus | None = None
        self._asked: _Asked | None = None
        self._begin(1)

    @property
    def student(self) -> nn.Module:
        """The model that learns from the clients."""
        return self._settings.student

    def initial_arrays(self) -> ArrayRecord:
        """The student as it is now."""
        return encode_parameters(state_arrays(self.student.state_dict()))

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Flower's loop; without ``initial_arrays`` it begins with the student as it is.

        The ``accuracy`` in what ``evaluate_fn`` returns is taken for the student's on test samples, where ``out`` is
        written.

        Raises ``RunError`` when fewer than ``min_reports`` replies of a round are valid, with the reasons, when the
        strategy fails, with its line, or when ``out`` holds a run already or cannot be written.
        """
        if type(num_rounds) is not int or num_rounds < 1:
            raise ConfigError([f"num_rounds: must be a whole number from 1, got {shown(num_rounds)}; 3 is usual"])
        if initial_arrays is not None:
            self._take_up(initial_arrays)
        arrays = self.initial_arrays()
        self._begin(num_rounds)
        with ExitStack() as stack:
            if self._out is not None:
                stack.enter_context(locked(self._out))
                self._folder = RunFolder(self._out, self.student, self._told())
                stack.callback(setattr, self, "_folder", None)
                stack.callback(self._folder.close)
                if evaluate_fn is not None:
                    evaluate_fn = self._folder.measuring(evaluate_fn)
            result = super().start(grid, arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn)
            if self._folder is not None:
                self._folder.finish()
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Flower's messages to the nodes that it samples, with what is asked; raises as ``start`` does."""
        self._take_up(arrays)
        messages = list(super().configure_train(server_round, arrays, config, grid))
        positions = self._teaching.positions(server_round)
        everything = len(positions) == len(self._settings.experiment.data.public.labels)
        wanted = self._wanted(server_round, len(positions))
        request = Request(self._digest, wanted.classes, None if everything else positions.numpy())
        first = replace(request, parts=self._parts)
        common = self._targets(None)
        sent = {}
        for message in messages:
            node = message.metadata.dst_node_id
            ask = request if node in self._served else first
            broadcast = self._broadcast(arrays, common, node)
            message.content = RecordDict(
                {
                    **message.content,
                    self.arrayrecord_key: broadcast,
                    REQUEST: ask.config,
                    PUBLIC: ask.arrays,
                }
            )
            kind = "parameters" if self._settings.broadcast == "student" else "logits"
            sent[node] = Traffic(**{kind: _bytes(broadcast), "other": _bytes(ask.arrays)})
        self._asked = _Asked(wanted, positions, sent)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The student after the round, and the numbers of it; raises as ``start`` does."""
        asked = self._asked
        if asked is None or asked.wanted.round != server_round:
            raise RunError(f"round {server_round}: nobody was asked; call configure_train of the same round before")
        self._asked = None
        found, clients = self._collect(asked, replies)
        if len(found.reports) < self._settings.min_reports:
            reasons = "; ".join(f"client {each.client}: {each.reason}" for each in found.failures[:5])
            raise RunError(
                f"round {server_round}: {len(found.reports)} valid replies, min_reports is "
                f"{self._settings.min_reports} ({reasons or 'no node was asked'})"
            )
        with told_by_line(f"round {server_round}"):
            lesson = self._teaching.learn(found.reports, asked.positions, server_round)
        self._consensus = lesson.consensus
        rows = _rows(asked, found, clients)
        record = self._record(server_round, lesson, rows, found)
        if self._folder is not None:
            self._folder.add(FinishedRound(record, rows, lesson.distilled.rows))
        return self.initial_arrays(), _metrics(record, len(found.reports))

    def summary(self) -> None:
        """Log what the strategy is made of."""
        config, public = self._teaching.experiment.config, self._settings.experiment.data.public
        _log.log(INFO, "\t├──> Distillation:")
        for name, value in (
            ("Teacher", f"{config.strategy.name}, λ by {config.distillation.balancer.name}"),
            ("Student", f"{type(self.student).__name__}, {config.distillation.steps} steps a round"),
            ("Clients are sent", self._settings.broadcast),
            (
                "Public samples",
                f"{len(public.labels)}, {len(public.labelled)} labelled to train on, {int(public.validation.sum())} to "
                f"validate on ({'sent to each node once' if self._settings.ship_public else 'found on the nodes'})",
            ),
            ("Privacy", "no guarantee by itself: what clients answer depends on their data"),
        ):
            _log.log(INFO, "\t│\t├──%s: %s", name, value)
        super().summary()

    def _begin(self, rounds: int) -> None:
        """Forget what belongs to another run, but for the student."""
        experiment = self._settings.experiment
        config = replace(experiment.config, rounds=rounds)
        self._teaching = Teaching(replace(experiment, config=config), self.student)
        self._roster = Roster()
        self._clients: dict[int, int] = {}
        self._served: set[int] = set()
        self._consensus = self._asked = None

    def _told(self) -> dict[str, Any]:
        """What the strategy is told, as far as a configuration has words for it."""
        found, public = to_mapping(self._teaching.experiment.config), self._settings.experiment.config.data.public
        return {
            **{name: found[name] for name in ("rounds", "seed", "strategy", "distillation")},
            "student": {"model": {"name": type(self.student).__name__}},
            "public": {
                **{name: getattr(public, name) for name in ("size", "labelled", "validation", "round_size")},
                "digest": self._digest,
            },
            "broadcast": self._settings.broadcast,
            "min_reports": self._settings.min_reports,
        }

    def _take_up(self, arrays: ArrayRecord) -> None:
        try:
            state = {name: torch.from_numpy(array.copy()) for name, array in decode_parameters(arrays).items()}
            self.student.load_state_dict(state)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                [f"initial_arrays: do not fit the student {type(self.student).__name__} ({error}); leave them out"]
            ) from error

    def _wanted(self, round: int, samples: int) -> Wanted:
        strategy, classes = self._teaching.strategy, self._settings.experiment.data.classes
        counts = strategy.needs_label_counts
        return Wanted(round, self._digest, samples, classes, strategy.needs_examples or counts, counts)

    def _broadcast(self, arrays: ArrayRecord, common: ArrayRecord, node: int) -> ArrayRecord:
        """What a node is sent of what the server knows."""
        if self._settings.broadcast == "student":
            return arrays
        client = self._clients.get(node)
        if self._consensus is not None and client is not None and client in self._consensus.personal:
            return self._targets(client)
        return common

    def _targets(self, client: int | None) -> ArrayRecord:
        """The last round's targets, of all clients or of one alone; empty where there are none, or none are sent."""
        if self._consensus is None or self._settings.broadcast != "consensus":
            return ArrayRecord()
        found = self._consensus.log_probabilities if client is None else self._consensus.personal[client]
        return ArrayRecord(
            {
                CONSENSUS: Array(found.float().numpy()),
                POSITIONS: Array(self._consensus.positions.numpy().astype(np.int64)),
            }
        )

    def _collect(self, asked: _Asked, replies: Iterable[Message]) -> tuple[Collected, dict[int, int]]:
        """The valid reports, and which client each node is; whose reply is not valid is logged and served anew."""
        answers = read_answers(replies, asked.wanted)
        said = {answer.node: answer.partition for answer in answers if answer.error is None}
        clients, faults = self._roster.admit(asked.sent, said)
        found = collect_reports(
            [answer.reply(clients[answer.node], asked.wanted, faults.get(answer.node)) for answer in answers],
            asked.wanted.expectation([clients[node] for node in asked.sent]),
        )
        nodes = {clients[node]: node for node in clients}
        _log.log(INFO, "aggregate_train: %d valid replies of %d nodes", len(found.reports), len(asked.sent))
        for failure in found.failures:
            _log.log(INFO, "\t> client %d (node %d): %s", failure.client, nodes[failure.client], failure.reason)
        valid = {nodes[report.client] for report in found.reports}
        self._served = (self._served - asked.sent.keys()) | valid
        self._clients = clients
        return found, clients

    def _record(self, round: int, lesson: Lesson, rows: tuple[ClientRecord, ...], found: Collected) -> RoundRecord:
        record = round_record(
            self._teaching.experiment,
            round,
            ServerUpdate(lesson.targets, lesson.consensus, lesson.distilled),
            rows,
            student_accuracy=None,
            validation=lesson.validation,
            diagnosis=None,
            circumstances=None,
        )
        return replace(record, failures=found.failures)


def _bytes(arrays: ArrayRecord) -> int:
    return sum(len(array.data) for array in arrays.values())


def _rows(asked: _Asked, found: Collected, clients: Mapping[int, int]) -> tuple[ClientRecord, ...]:
    """A row for each client that was asked; of its model and its behaviour nothing is known."""
    sent = {report.client: report.sent for report in found.reports}
    received = {clients[node]: traffic for node, traffic in asked.sent.items()}
    return tuple(
        ClientRecord(asked.wanted.round, client, "", sent.get(client, Traffic()), traffic, "")
        for client, traffic in sorted(received.items())
    )


def _metrics(record: RoundRecord, reports: int) -> MetricRecord:
    """The numbers of a round for Flower's log and result; what is not known is left out."""
    validation = record.validation
    found = {
        "mean-lambda": record.mean_lambda,
        "loss-dist": record.loss_dist,
        "loss-cls": record.loss_cls,
        "validation-accuracy": record.validation_accuracy,
        "teacher-accuracy": None if validation is None else validation.teacher_accuracy,
        "agreement": None if validation is None else validation.agreement,
        "replies": reports,
        "failures": len(record.failures),
    }
    return MetricRecord({name: value for name, value in found.items() if value is not None})
