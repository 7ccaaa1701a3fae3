"""Clients in parallel on Ray workers, through Flower's simulation runtime."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fedkd.config.schema import EngineConfig
from fedkd.core.errors import RunError
from fedkd.core.messages import Job, Reply
from fedkd.engines.ray import cluster as ray_cluster
from fedkd.engines.resources import Workload, gpu_count, gpu_share, require_slots, worker_count

if TYPE_CHECKING:
    from fedkd.engines.flower.grid import GridEngine
    from fedkd.engines.ray.simulation import Simulation

NODES_PER_WORKER = 4
"""Flower nodes beyond this only make Flower slower; cohorts share the nodes."""


class RayEngine:
    """Runs clients on a Ray started for this engine, or on the one at ``engine.address``, which stays up afterwards.

    ``verbose`` lets Flower and Ray write to the terminal. A cluster at ``engine.address`` decides itself how many
    workers there are. Entering raises ``RunError`` when the machine lacks what is asked for or a worker cannot start.
    """

    def __init__(self, config: EngineConfig, workload: Workload, *, verbose: bool = False) -> None:
        self._config = config
        self._workload = workload
        self._verbose = verbose
        self._stack = ExitStack()
        self._simulation: Simulation | None = None
        self._engine: GridEngine | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Whatever fails or interrupts the start, what had been started is stopped on the way out.
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine = None
        self._stack.close()

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        """One reply per client, as cohorts finish; see ``GridEngine.run``.

        Workers that are still busy afterwards, because they hang or the caller stopped listening, are replaced; the
        next job waits for the new ones, and its time begins when they are there.
        """
        if self._engine is None or self._simulation is None:
            raise RunError("the ray engine is not running; use it in a with statement")
        simulation = self._simulation
        simulation.await_workers()
        try:
            yield from self._engine.run(job, clients)
        finally:
            simulation.replace_busy_workers()

    def _start(self, stack: ExitStack) -> None:
        address = self._config.address
        local = address is None or ray_cluster.on_loopback_only(address)
        ray_cluster.prepare_environment(local=local, verbose=self._verbose)
        with ray_cluster.quiet_warnings(self._verbose):
            ray_cluster.require_ray()
            # Importing Flower sets its log level, so it comes before the hush.
            from fedkd.engines.flower.grid import COHORTS_PER_WORKER, GridEngine, Nodes
            from fedkd.engines.ray.simulation import Simulation

            stack.enter_context(ray_cluster.hushed(self._verbose))
            stack.callback(self._shut_down_ray)
            workers, gpus, share = self._open_ray()

        nodes = self._nodes(workers)
        simulation = Simulation(
            nodes, {"num_cpus": 1, "num_gpus": share}, client_fn=self._workload.client_fn, verbose=self._verbose
        )
        self._simulation = simulation
        stack.callback(simulation.stop)
        engine = GridEngine(
            simulation.start(),
            Nodes(nodes, workers, gpus),
            self._workload,
            timeout=self._config.timeout,
            clients_per_node=self._config.clients_per_node,
            # Clients can be trained as one within a cohort only.
            cohorts_per_worker=1 if self._config.vectorises else COHORTS_PER_WORKER,
            measured=True,
        )
        self._engine = stack.enter_context(engine)

    def _open_ray(self) -> tuple[int, int, float]:
        """Start or attach to Ray; how many workers and GPUs it gives, and each worker's share of a GPU."""
        config = self._config
        if config.address is None:
            workers = worker_count(config, self._workload.threads)
            gpus = gpu_count() if config.device == "cuda" else 0
            share = gpu_share(config, workers, gpus)
            require_slots(self._workload.resources, workers, gpus)
            ray_cluster.start_ray(workers=workers, gpus=gpus, verbose=self._verbose)
            return workers, gpus, share
        ray_cluster.attach_ray(config.address, verbose=self._verbose)
        workers, gpus = ray_cluster.cluster_size()
        if workers < 1:
            raise RunError(f"engine.address: the Ray cluster at {config.address!r} offers no CPUs; start it with some")
        return workers, gpus if config.device == "cuda" else 0, gpu_share(config, workers, gpus)

    def _nodes(self, workers: int) -> int:
        size = self._config.clients_per_node
        return (
            min(self._workload.clients, NODES_PER_WORKER * workers)
            if size is None
            else -(-self._workload.clients // size)
        )

    def _shut_down_ray(self) -> None:
        """Stop the Ray that was started, or leave the one attached to; never under a thread that still uses it."""
        simulation, self._simulation = self._simulation, None
        if simulation is None or not simulation.running:
            import ray

            # Ray does not wait for the processes it ends, which Python warns of.
            with ray_cluster.quiet_warnings(self._verbose):
                ray.shutdown()
