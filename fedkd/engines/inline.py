"""All clients in this process, without Flower and Ray."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import Self

from fedkd.client.performer import CLIENT_FN, attempt_all, load_client_fn
from fedkd.core.compute import fixed_threads
from fedkd.core.messages import Job, Reply
from fedkd.engines.resources import ONE_CORE, ClientResources


class InlineEngine:
    """Runs clients in the caller's process and thread: for debugging, notebooks, one GPU, and as the reference.

    ``client_fn`` is the import path of the function that does one client's work; ``resources`` maps clients to what
    each needs (default: one thread), of which this engine heeds the threads. Replies come in the order of the clients;
    torch uses the caller's count of threads between two clients.
    """

    def __init__(self, *, resources: Mapping[int, ClientResources] | None = None, client_fn: str = CLIENT_FN) -> None:
        self._resources = resources or {}
        self._client_fn = client_fn

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        """One reply per client; a client that raised has ``error`` set."""
        client_fn = load_client_fn(self._client_fn)
        for threads, members in groupby(clients, key=lambda client: self._resources.get(client, ONE_CORE).threads):
            replies = attempt_all(client_fn, job, tuple(members))
            while True:
                with fixed_threads(threads):
                    reply = next(replies, None)
                if reply is None:
                    break
                yield reply
