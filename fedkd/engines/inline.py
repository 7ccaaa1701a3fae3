"""All clients one after another in this process, without Flower and Ray."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from fedkd.performing import LOCAL_PERFORMER, attempt, load_performer
from fedkd.threads import fixed_threads
from fedkd.types import Job, Outcome


class InlineEngine:
    """Runs clients in the caller's process and thread: for debugging, notebooks, one GPU, and as the reference.

    ``performer`` is the import path of the function that does one client's work. Outcomes come in the order of the
    clients; torch uses one thread during a client's work and the caller's count between two clients.
    """

    def __init__(self, *, performer: str = LOCAL_PERFORMER) -> None:
        self._performer = performer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Outcome]:
        """One outcome per client; a client that raised has ``error`` set."""
        performer = load_performer(self._performer)
        for client in clients:
            with fixed_threads(1):
                outcome = attempt(performer, job, client)
            yield outcome
