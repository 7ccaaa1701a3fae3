"""All clients in this process, without Flower and Ray."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import Self

from fedkd.client.performer import LOCAL_PERFORMER, attempt_all, load_performer
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import Job, Outcome
from fedkd.engines.resources import ONE_CORE, ClientResources


class InlineEngine:
    """Runs clients in the caller's process and thread: for debugging, notebooks, one GPU, and as the reference.

    ``performer`` is the import path of the function that does one client's work; ``resources`` maps clients to what
    each needs (default: one thread), of which this engine heeds the threads. Outcomes come in the order of the clients;
    torch uses the caller's count of threads between two clients.
    """

    def __init__(
        self, *, resources: Mapping[int, ClientResources] | None = None, performer: str = LOCAL_PERFORMER
    ) -> None:
        self._resources = resources or {}
        self._performer = performer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Outcome]:
        """One outcome per client; a client that raised has ``error`` set."""
        performer = load_performer(self._performer)
        for threads, members in groupby(clients, key=lambda client: self._resources.get(client, ONE_CORE).threads):
            outcomes = attempt_all(performer, job, tuple(members))
            while True:
                with fixed_threads(threads):
                    outcome = next(outcomes, None)
                if outcome is None:
                    break
                yield outcome
