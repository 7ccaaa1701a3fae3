"""The engine that does the work of an audit."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from fedkd.audit.performer import PERFORMER
from fedkd.audit.shadows import World
from fedkd.config.schema import AuditOptions
from fedkd.core.messages import Job, Outcome
from fedkd.engines import Engine
from fedkd.engines.building import resources_of
from fedkd.engines.inline import InlineEngine
from fedkd.experiment import Workspace


class AuditEngine:
    """The engine of ``engine.kind`` for the work of an audit, started only if there is some."""

    def __init__(self, place: Workspace, options: AuditOptions, verbose: bool) -> None:
        self._place, self._verbose = place, verbose
        clients = place.config.clients.count
        worlds = range(clients * (options.shadows + 1))
        self._resources = {number: resources_of(place, World.of(number, clients).client) for number in worlds}
        self._stack = ExitStack()
        self._engine: Engine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine = None
        self._stack.close()

    def run(self, job: Job, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Outcomes as they arrive; see ``Engine.run``."""
        if self._engine is None:
            self._engine = self._stack.enter_context(self._build())
        return self._engine.run(job, numbers)

    def _build(self) -> Engine:
        config = self._place.config
        if config.engine.kind == "inline":
            return InlineEngine(resources=self._resources, performer=PERFORMER)
        from fedkd.engines.ray.engine import RayEngine

        return RayEngine(
            config.engine,
            config.clients.count,
            verbose=self._verbose,
            resources=self._resources,
            performer=PERFORMER,
        )
