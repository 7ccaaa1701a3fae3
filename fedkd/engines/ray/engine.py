"""Clients in parallel, in worker processes that Ray's actors look after."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from fedkd.config.schema import EngineConfig, ResourceConfig
from fedkd.core.errors import RunError
from fedkd.core.messages import Job, Reply
from fedkd.engines.cohorts import plan_cohorts
from fedkd.engines.ray.forkserver import ForkServer, may_fork
from fedkd.engines.ray.process import LOCAL, RayProcess, ray_process
from fedkd.engines.ray.protocol import Begin
from fedkd.engines.ray.worker import decode_replies, encode_cohort, encode_job
from fedkd.engines.resources import Workload, admitted, gpu_count, gpu_share, require_slots, worker_count
from fedkd.engines.sendable import failures, payload_bytes, reply_bytes

COHORTS_PER_WORKER = 8
"""Enough for a worker that is done early to take over work, few enough that messages stay cheap."""

OUTSTANDING_PER_WORKER = 4
"""Cohorts on their way: enough for workers to have the next one at hand, few enough to be held in memory."""

START_SECONDS = 300.0
"""How long workers may take to start."""

_Planned = tuple[tuple[int, ...], ResourceConfig]


class RayEngine:
    """Runs clients on a Ray started for this engine, or on the one at ``engine.address``, which stays up afterwards.

    On each machine an actor has workers that are forked from a process with all code loaded. ``verbose`` lets Ray and
    the workers write to the terminal. A cluster at ``engine.address`` decides itself how many workers there are.
    Entering raises ``RunError`` when the machine lacks what is asked for or a worker cannot start.
    """

    def __init__(self, config: EngineConfig, workload: Workload, *, verbose: bool = False) -> None:
        self._config = config
        self._workload = workload
        self._verbose = verbose
        self._stack = ExitStack()
        self._ray: RayProcess | None = None
        self._workers, self._gpus = 0, 0
        self._client_bytes = workload.answer_bytes
        self._jobs = self._cohorts = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Whatever fails or interrupts the start, what had been started is stopped on the way out.
            begin = self._own_workers(stack) if self._config.address is None else self._clusters_workers()
            self._ray = ray_process(self._config.address or LOCAL, verbose=self._verbose)
            stack.callback(self._ray.stop)
            self._workers, self._gpus = self._ray.begin(begin)
            gpu_share(self._config, self._workers, self._gpus)
            require_slots(self._workload.resources, self._workers, self._gpus)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray = None
        self._stack.close()

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        """One reply per client, cohort by cohort as replies arrive.

        A client whose reply is malformed, or does not come within ``engine.timeout``, has ``error`` set; so have those
        whose worker died. Workers that are still busy afterwards, because they hang or the caller stopped listening,
        are replaced.
        """
        if self._ray is None:
            raise RunError("the ray engine is not running; use it in a with statement")
        connection, deadline = self._ray.connection, time.monotonic() + self._config.timeout
        self._client_bytes = max(self._client_bytes, *map(payload_bytes, (job.parameters, *job.personal.values())))
        self._jobs += 1
        queue, waiting = self._plan(clients), dict[int, _Planned]()
        try:
            connection.send(("begin_job", self._jobs, encode_job(job)))
            self._advance(job, queue, waiting, deadline)
            while waiting and connection.poll(max(deadline - time.monotonic(), 0.0)):
                number, replied, reason = connection.recv()
                content = connection.recv_bytes() if replied else None
                if (planned := waiting.pop(number, None)) is None:
                    continue  # of a job that is over
                self._advance(job, queue, waiting, deadline)
                replies = failures(planned[0], reason) if content is None else decode_replies(content, planned[0])
                self._client_bytes = max(self._client_bytes, *map(reply_bytes, replies))
                yield from replies
            for cohort, _ in (*waiting.values(), *queue):
                yield from failures(cohort, f"no reply within engine.timeout = {self._config.timeout:g} s")
        except (EOFError, OSError) as error:
            raise RunError("Ray ended, or lost the last of its machines; --verbose shows what it says") from error
        finally:
            if waiting and self._ray is not None:
                with suppress(OSError):  # Ray is gone, and its workers with it
                    connection.send(("replace_busy",))

    def _plan(self, clients: Sequence[int]) -> list[_Planned]:
        return plan_cohorts(
            clients,
            self._workload,
            self._workers,
            self._gpus,
            size=self._config.clients_per_node,
            # Clients can be trained as one within a cohort only.
            per_worker=1 if self._config.vectorises else COHORTS_PER_WORKER,
            client_bytes=self._client_bytes,
        )

    def _advance(self, job: Job, queue: list[_Planned], waiting: dict[int, _Planned], deadline: float) -> None:
        """Send the cohorts that can start now, and move them from ``queue`` to ``waiting``."""
        assert self._ray is not None
        workload, seconds = self._workload, deadline - time.monotonic()
        wanted, working = ([need for _, need in some] for some in (queue, waiting.values()))
        room = max(OUTSTANDING_PER_WORKER * self._workers - len(waiting), 0)
        positions = admitted(wanted, working, self._workers, self._gpus)[:room]
        for position in positions:
            cohort, need = queue[position]
            self._cohorts += 1
            content = encode_cohort(job, cohort, workload.client_fn, seconds, need.threads, workload.memory)
            waiting[self._cohorts] = queue[position]
            self._ray.connection.send(("cohort", self._cohorts, content))
        for position in reversed(positions):
            del queue[position]

    def _own_workers(self, stack: ExitStack) -> Begin:
        """Those of this machine, on a Ray of their own; raises ``RunError`` when it lacks what is asked for."""
        config = self._config
        workers = worker_count(config, self._workload.threads)
        gpus = gpu_count() if config.device == "cuda" else 0
        gpu_share(config, workers, gpus)
        require_slots(self._workload.resources, workers, gpus)
        path = None
        if config.device == "cpu" and may_fork():
            server = ForkServer(forked=True, verbose=self._verbose)
            stack.callback(server.stop)
            path = server.path
        return Begin(self._workload.client_fn, START_SECONDS, workers, path, _cuda_names(gpus))

    def _clusters_workers(self) -> Begin:
        return Begin(self._workload.client_fn, START_SECONDS, gpus=None if self._config.device == "cuda" else ())


def _cuda_names(gpus: int) -> tuple[str, ...]:
    """What CUDA calls the GPUs that this process sees."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(named.split(",")[:gpus]) if named else tuple(map(str, range(gpus)))
