"""Engines: where the clients' work of a round is done."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    # A process that only hands messages on does without torch.
    from fedkd.core.messages import Job, Reply

__all__ = ["Engine"]


@runtime_checkable
class Engine(Protocol):
    """Runs a job on clients. A context manager: entering starts its workers, leaving stops them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: "Job", clients: Sequence[int]) -> Iterator["Reply"]:
        """One reply per client, in any order, as they arrive; a client that failed has ``error`` set."""
        ...
