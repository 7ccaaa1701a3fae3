"""The engine that does the work of an audit."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

from fedkd.audit.performer import CLIENT_FN
from fedkd.audit.shadows import ShadowRun
from fedkd.config.schema import AuditConfig
from fedkd.core.messages import Job, Reply
from fedkd.engines import Engine
from fedkd.engines.building import engine_for
from fedkd.engines.resources import Workload
from fedkd.experiment import Experiment


class AuditEngine:
    """The engine of ``engine.kind`` for the work of an audit, started only if there is some."""

    def __init__(self, experiment: Experiment, options: AuditConfig, verbose: bool) -> None:
        self._config, self._verbose = experiment.config.engine, verbose
        clients = experiment.config.clients.count
        numbers = range(clients * (options.shadows + 1))
        needs = {number: experiment.resources_of(ShadowRun.of(number, clients).client) for number in numbers}
        self._workload = Workload(clients, CLIENT_FN, resources=needs)
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
            self._engine = self._stack.enter_context(engine_for(self._config, self._workload, verbose=self._verbose))
        return self._engine.run(job, numbers)
