"""The engine that does the work of an audit."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

from fedkd.audit.performer import CLIENT_FN
from fedkd.audit.shadows import ShadowRun
from fedkd.config.schema import AuditConfig
from fedkd.core.messages import Job, Reply
from fedkd.engines import Engine
from fedkd.engines.building import resources_of
from fedkd.engines.inline import InlineEngine
from fedkd.experiment import Experiment


class AuditEngine:
    """The engine of ``engine.kind`` for the work of an audit, started only if there is some."""

    def __init__(self, experiment: Experiment, options: AuditConfig, verbose: bool) -> None:
        self._experiment, self._verbose = experiment, verbose
        clients = experiment.config.clients.count
        shadow_runs = range(clients * (options.shadows + 1))
        self._resources = {
            number: resources_of(experiment, ShadowRun.of(number, clients).client) for number in shadow_runs
        }
        self._stack = ExitStack()
        self._engine: Engine | None = None

    def __enter__(self) -> "AuditEngine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine = None
        self._stack.close()

    def run(self, job: Job, numbers: Sequence[int]) -> Iterator[Reply]:
        """Replies as they arrive; see ``Engine.run``."""
        if self._engine is None:
            self._engine = self._stack.enter_context(self._build())
        return self._engine.run(job, numbers)

    def _build(self) -> Engine:
        config = self._experiment.config
        if config.engine.kind == "inline":
            return InlineEngine(resources=self._resources, client_fn=CLIENT_FN)
        from fedkd.engines.ray.engine import RayEngine

        return RayEngine(
            config.engine,
            config.clients.count,
            verbose=self._verbose,
            resources=self._resources,
            client_fn=CLIENT_FN,
        )
