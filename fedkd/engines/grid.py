"""Clients behind any Flower grid: cohorts down, stacked outcomes up."""

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedkd.engines.cohorts import divide
from fedkd.errors import RunError
from fedkd.performing import LOCAL_PERFORMER
from fedkd.types import Job, Outcome
from fedkd.wire import (
    COHORT_MESSAGE,
    READY_MESSAGE,
    Cohort,
    decode_ready_reply,
    decode_reply,
    encode_cohort,
    encode_parameters,
    encode_ready,
    failures,
    payload_bytes,
)

COHORTS_PER_WORKER = 4
"""Enough for a worker that is done early to take over work, few enough that messages stay cheap."""

REPLY_BYTES = 50_000_000
"""About how large a reply may become before cohorts are made smaller."""

START_SECONDS = 300.0
"""How long nodes and workers may take to appear."""

EXPIRY_SECONDS = 60.0
"""How long after its timeout a message still exists, so that late replies are not taken for errors."""


class GridEngine:
    """Sends a job to Flower nodes, a cohort of clients per message, and collects the outcomes as they arrive.

    ``nodes`` is how many nodes to wait for; ``workers`` how many of them work at once; ``clients_per_node`` fixes the
    size of a cohort (default: about four cohorts per worker, of equal expected cost); ``costs`` maps clients to their
    relative cost (default: all equal); ``timeout`` is the time in seconds that one job may take. Node ids serve as
    addresses only: they are random in every run.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        nodes: int,
        workers: int,
        timeout: float,
        clients_per_node: int | None = None,
        costs: Mapping[int, float] | None = None,
        performer: str = LOCAL_PERFORMER,
        start_timeout: float = START_SECONDS,
    ) -> None:
        self._grid = grid
        self._expected_nodes = nodes
        self._workers = workers
        self._timeout = timeout
        self._clients_per_node = clients_per_node
        self._costs = costs
        self._performer = performer
        self._start_timeout = start_timeout
        self._nodes: list[int] = []
        self._reply_bytes = 1

    def __enter__(self) -> Self:
        """Wait for the nodes and for the first workers; raises ``RunError`` when they do not come or cannot work."""
        deadline = time.monotonic() + self._start_timeout
        while len(nodes := list(self._grid.get_node_ids())) < self._expected_nodes:
            if time.monotonic() > deadline:
                raise RunError(
                    f"only {len(nodes)} of {self._expected_nodes} Flower nodes appeared within "
                    f"{self._start_timeout:g} s; start more nodes, or lower clients.count"
                )
            time.sleep(0.01)
        self._nodes = nodes
        self._check_workers(deadline)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Outcome]:
        """One outcome per client, cohort by cohort as replies arrive.

        A client whose reply is an error, is malformed, or does not come within the timeout has ``error`` set.
        """
        self._reply_bytes = max(self._reply_bytes, payload_bytes(job.parameters))
        cohorts = self._cohorts(clients)
        parameters = encode_parameters(job.parameters)
        contents = [
            encode_cohort(Cohort(job, members, self._performer, self._timeout), parameters) for members in cohorts
        ]
        waiting = dict(zip(self._push(contents, COHORT_MESSAGE, self._timeout), cohorts, strict=True))
        for reply, members in self._replies(waiting, time.monotonic() + self._timeout):
            outcomes = decode_reply(reply, members)
            self._reply_bytes = max(self._reply_bytes, *(payload_bytes(outcome.arrays) for outcome in outcomes))
            yield from outcomes
        for members in waiting.values():
            yield from failures(members, f"no reply within engine.timeout = {self._timeout:g} s")

    def _cohorts(self, clients: Sequence[int]) -> list[tuple[int, ...]]:
        if not clients:
            return []
        if self._clients_per_node is not None:
            count = -(-len(clients) // self._clients_per_node)
            return divide(clients, count, costs=self._costs, size=self._clients_per_node)
        room = max(1, REPLY_BYTES // self._reply_bytes)
        count = max(COHORTS_PER_WORKER * self._workers, -(-len(clients) // room))
        return divide(clients, count, costs=self._costs, size=room)

    def _push(self, contents: Sequence[RecordDict], kind: str, seconds: float) -> list[str]:
        """Send the messages to the nodes in turn. They expire when nobody has waited for them for long."""
        messages = [
            Message(content, self._nodes[index % len(self._nodes)], kind, ttl=seconds + EXPIRY_SECONDS)
            for index, content in enumerate(contents)
        ]
        return list(self._grid.push_messages(messages))

    def _replies(
        self, waiting: dict[str, tuple[int, ...]], deadline: float
    ) -> Iterator[tuple[Message, tuple[int, ...]]]:
        """Replies as they arrive, each with the clients it answers for, which leave ``waiting``."""
        while waiting:
            begun = time.monotonic()
            for reply in self._grid.pull_messages(list(waiting)):
                if (asked := waiting.pop(reply.metadata.reply_to_message_id, None)) is not None:
                    yield reply, asked
            now = time.monotonic()
            if now > deadline:
                return
            # A pull looks through all stored messages, so with many of them it must not be done all the time.
            if waiting:
                time.sleep(min(max(0.01, 2 * (now - begun)), 0.5))

    def _check_workers(self, deadline: float) -> None:
        """Ask as many nodes as there are workers whether they can work."""
        seconds = max(deadline - time.monotonic(), 1.0)
        contents = [encode_ready(self._performer) for _ in range(min(self._workers, len(self._nodes)))]
        waiting: dict[str, tuple[int, ...]] = dict.fromkeys(self._push(contents, READY_MESSAGE, seconds), ())
        for reply, _ in self._replies(waiting, deadline):
            if (reason := decode_ready_reply(reply)) is not None:
                raise RunError(f"a worker cannot start: {reason}")
        if waiting:
            raise RunError(
                f"{len(waiting)} of {len(contents)} workers did not start within {self._start_timeout:g} s; "
                "free some cores, or lower engine.workers"
            )
