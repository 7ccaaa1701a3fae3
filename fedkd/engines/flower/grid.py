"""Clients behind any Flower grid: cohorts down, stacked replies up."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from types import TracebackType
from typing import Self

from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedkd.config.schema import ResourceConfig
from fedkd.core.errors import RunError
from fedkd.core.messages import Job, Reply
from fedkd.engines.cohorts import clients_by_need, plan_cohorts
from fedkd.engines.flower.wire import (
    COHORT_MESSAGE,
    READY_MESSAGE,
    Cohort,
    Ready,
    decode_ready_reply,
    decode_replies,
    encode_cohort,
    encode_parameters,
    encode_ready,
)
from fedkd.engines.resources import ONE_CORE, Workload, admitted, require_slots
from fedkd.engines.sendable import failures, payload_bytes, reply_bytes

COHORTS_PER_WORKER = 4
"""Enough for a worker that is done early to take over work, few enough that messages stay cheap."""

START_SECONDS = 300.0
"""How long nodes and workers may take to appear."""

EXPIRY_SECONDS = 60.0
"""How long after its timeout a message still exists, so that late replies are not taken for errors."""


@dataclass(frozen=True)
class _Planned:
    """Clients of one class whose work travels in one message; to ``node``, or to any when that is None."""

    members: tuple[int, ...]
    need: ResourceConfig
    node: int | None = None


def push(grid: Grid, messages: Iterable[tuple[int, RecordDict]], kind: str, seconds: float) -> list[str]:
    """Send contents to nodes; the messages' ids, empty for a node that is not there any more.

    They expire when nobody has waited for them for long.
    """
    identifiers: list[str] = []
    for node, content in messages:
        # One by one, because some grids leave out the ids of those that they could not send.
        sent = list(grid.push_messages([Message(content, node, kind, ttl=seconds + EXPIRY_SECONDS)]))
        identifiers.append(sent[0] if sent and sent[0] else "")
    return identifiers


@dataclass(frozen=True)
class Nodes:
    """The Flower nodes that do the work: ``count`` to wait for, ``workers`` of them at once, a core each, and ``gpus``
    that they share.

    ``homes`` maps clients to the nodes that they live on, which are there and ready (None: any node takes any client).
    ``common`` is as in ``Cohort``.
    """

    count: int
    workers: int
    gpus: float = 0.0
    homes: Mapping[int, int] | None = None
    common: str = ""


class GridEngine:
    """Sends a job to Flower nodes, a cohort of clients per message, and collects the replies as they arrive.

    ``clients_per_node`` fixes the size of a cohort (default: about ``COHORTS_PER_WORKER``, of equal expected cost). A
    cohort's clients need the same, and cohorts wait while others leave them too little. Where clients have homes, a
    node gets its clients of one class in one message, at once: sharing its cores is its own affair. ``timeout`` is the
    time in seconds that one job may take, ``start_timeout`` what nodes and workers may take to appear. Node ids serve
    as addresses only: they are random in every run.
    """

    def __init__(
        self,
        grid: Grid,
        nodes: Nodes,
        workload: Workload,
        *,
        timeout: float,
        clients_per_node: int | None = None,
        start_timeout: float = START_SECONDS,
    ) -> None:
        self._grid = grid
        self._nodes = nodes
        self._workload = workload
        self._timeout = timeout
        self._clients_per_node = clients_per_node
        self._start_timeout = start_timeout
        self._addresses: Iterator[int] = iter(())
        self._reply_bytes = workload.answer_bytes

    def __enter__(self) -> Self:
        """Wait for the nodes and for the first workers.

        Raises ``RunError`` when they do not come or cannot work, or when a client needs more than all of them have.
        """
        if self._nodes.homes is not None:
            return self
        require_slots(self._workload.resources, self._nodes.workers, self._nodes.gpus)
        deadline = time.monotonic() + self._start_timeout
        while len(nodes := list(self._grid.get_node_ids())) < self._nodes.count:
            if time.monotonic() > deadline:
                raise RunError(
                    f"only {len(nodes)} of {self._nodes.count} Flower nodes appeared within "
                    f"{self._start_timeout:g} s; start more nodes, or lower clients.count"
                )
            time.sleep(0.01)
        self._addresses = cycle(nodes)
        self._check_workers(min(self._nodes.workers, len(nodes)), deadline)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: Job, clients: Sequence[int], *, state_key: str | None = None) -> Iterator[Reply]:
        """One reply per client, cohort by cohort as replies arrive.

        A client whose reply is an error, is malformed, or does not come within the timeout has ``error`` set; so has
        one whose node is gone. ``state_key`` is as in ``Cohort``.
        """
        sizes = [payload_bytes(arrays) for arrays in (job.parameters, *job.personal.values())]
        self._reply_bytes = max(self._reply_bytes, *sizes)
        parameters = encode_parameters(job.parameters)
        deadline = time.monotonic() + self._timeout
        queue = self._plan(clients)
        waiting: dict[str, _Planned] = {}

        def advance() -> Iterator[Reply]:
            for lost in self._advance(queue, waiting, job, parameters, deadline, state_key):
                yield from failures(lost.members, "its Flower node is not there any more")

        yield from advance()
        for message, cohort in self._messages(waiting, deadline):
            yield from advance()
            replies = decode_replies(message, cohort.members, job.most_bytes)
            self._reply_bytes = max(self._reply_bytes, *(reply_bytes(reply) for reply in replies))
            yield from replies
        for cohort in (*waiting.values(), *queue):
            yield from failures(cohort.members, f"no reply within engine.timeout = {self._timeout:g} s")

    def _plan(self, clients: Sequence[int]) -> list[_Planned]:
        if self._nodes.homes is not None:
            classes = clients_by_need(clients, self._workload)
            return [
                _Planned(
                    tuple(sorted(client for client in classes[need] if self._nodes.homes[client] == node)), need, node
                )
                for need in classes
                for node in dict.fromkeys(self._nodes.homes[client] for client in classes[need])
            ]
        return [
            _Planned(members, need)
            for members, need in plan_cohorts(
                clients,
                self._workload,
                self._nodes.workers,
                self._nodes.gpus,
                size=self._clients_per_node,
                per_worker=COHORTS_PER_WORKER,
                client_bytes=self._reply_bytes,
            )
        ]

    def _advance(
        self,
        queue: list[_Planned],
        waiting: dict[str, _Planned],
        job: Job,
        parameters: ArrayRecord,
        deadline: float,
        state_key: str | None,
    ) -> list[_Planned]:
        """Send the cohorts that can start now, and move them from ``queue`` to ``waiting``; those nobody took are the
        result."""
        positions = list(range(len(queue)))
        if self._nodes.homes is None:
            wanted, working = ([cohort.need for cohort in some] for some in (queue, waiting.values()))
            positions = admitted(wanted, working, self._nodes.workers, self._nodes.gpus)
        starting = [queue[position] for position in positions]
        for position in reversed(positions):
            del queue[position]
        seconds = deadline - time.monotonic()
        contents = (
            encode_cohort(
                Cohort(
                    job,
                    cohort.members,
                    self._workload.client_fn,
                    seconds,
                    cohort.need.threads,
                    state_key,
                    self._workload.memory,
                    self._nodes.common,
                ),
                parameters,
            )
            for cohort in starting
        )
        addresses = [next(self._addresses) if cohort.node is None else cohort.node for cohort in starting]
        identifiers = push(self._grid, zip(addresses, contents, strict=True), COHORT_MESSAGE, seconds)
        sent = list(zip(identifiers, starting, strict=True))
        waiting.update((identifier, cohort) for identifier, cohort in sent if identifier)
        return [cohort for identifier, cohort in sent if not identifier]

    def _messages(self, waiting: dict[str, _Planned], deadline: float) -> Iterator[tuple[Message, _Planned]]:
        """Replies as they arrive, each with the cohort it answers for, which leaves ``waiting``."""
        while waiting:
            begun = time.monotonic()
            for message in self._grid.pull_messages(list(waiting)):
                if (asked := waiting.pop(message.metadata.reply_to_message_id, None)) is not None:
                    yield message, asked
            now = time.monotonic()
            if now > deadline:
                return
            # A pull looks through all stored messages, so with many of them it must not be done all the time.
            if waiting:
                time.sleep(min(max(0.01, 2 * (now - begun)), 0.5))

    def _check_workers(self, count: int, deadline: float) -> None:
        """Ask ``count`` nodes, one per worker, whether they can work."""
        seconds = max(deadline - time.monotonic(), 1.0)
        messages = [(next(self._addresses), encode_ready(Ready(self._workload.client_fn))) for _ in range(count)]
        waiting = dict.fromkeys(push(self._grid, messages, READY_MESSAGE, seconds), _Planned((), ONE_CORE))
        for message, _ in self._messages(waiting, deadline):
            if (reason := decode_ready_reply(message)) is not None:
                raise RunError(f"a worker cannot start: {reason}")
        if waiting:
            raise RunError(
                f"{len(waiting)} of {count} workers did not start within {self._start_timeout:g} s; "
                "free some cores, or lower engine.workers"
            )
