"""All clients in this process, without Ray."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from types import TracebackType
from typing import Self

from fedkd.client.performer import attempt_all, load_client_fn
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import Host, Job, Reply
from fedkd.engines.resources import Workload


class InlineEngine:
    """Runs clients in the caller's process and thread: for debugging, notebooks, one GPU, and as the reference.

    Of what clients need it heeds the threads. Replies come in the order of the clients; between two of them torch uses
    the caller's count of threads.
    """

    def __init__(self, workload: Workload | None = None) -> None:
        self._workload = workload or Workload()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        """One reply per client; a client that raised has ``error`` set."""
        client_fn = load_client_fn(self._workload.client_fn)
        if self._workload.memory is not None:
            job = replace(job, host=Host(self._workload.memory))
        for threads, members in groupby(clients, key=lambda client: self._workload.need_of(client).threads):
            replies = attempt_all(client_fn, job, tuple(members))
            while True:
                with fixed_threads(threads):
                    reply = next(replies, None)
                if reply is None:
                    break
                yield reply
