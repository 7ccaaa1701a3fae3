"""Flower's simulation runtime in a background thread; the only module that calls its entry point."""

import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from fedkd.client.performer import warm_up
from fedkd.core.errors import RunError
from fedkd.engines.flower.client_app import measuring_app
from fedkd.engines.ray.backend import RecoveringBackend, recovering_backend
from fedkd.engines.ray.cluster import start_remedy

START_SECONDS = 120.0
REPLACEMENT_SECONDS = 60.0
STOP_SECONDS = 15.0


class Simulation:
    """Runs Flower nodes on the Ray that this process is connected to, and lends its grid to the calling thread.

    Workers load ``client_fn`` as they start. Everything Flower starts inherits the background thread's being a daemon,
    so nothing keeps the interpreter alive.
    """

    def __init__(self, nodes: int, worker_resources: dict[str, float], *, client_fn: str, verbose: bool) -> None:
        self._nodes = nodes
        self._warm_up = partial(warm_up, client_fn)
        # Flower never replaces a worker that died; Ray does when it may restart it (-1: always).
        self._worker_resources = {**worker_resources, "max_restarts": -1}
        self._verbose = verbose
        self._grid: Grid | None = None
        self._backend: RecoveringBackend | None = None
        self._workers: list[Any] = []
        self._missing = 0
        self._leave = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._simulate, name="fedkd-flower", daemon=True)

    def start(self) -> Grid:
        """The grid, once workers are being started; raises ``RunError`` when the simulation fails first."""
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while self._grid is None or self._backend is None:
            if not self._thread.is_alive():
                reason = f"Flower's simulation did not start: {self._failure}"
                raise RunError(f"{reason}; {start_remedy(reason)}") from self._failure
            if time.monotonic() > deadline:
                reason = f"Flower's simulation did not start within {START_SECONDS:g} s"
                raise RunError(f"{reason}; {start_remedy(reason)}")
            time.sleep(0.01)
        return self._grid

    @property
    def running(self) -> bool:
        """Whether a thread of Flower may still be using Ray."""
        return self._thread.is_alive()

    def await_workers(self) -> None:
        """Come back when the workers that are being replaced are ready, so that a round's time is its own.

        Those that do not come, because their machine is gone, are waited for once.
        """
        backend, deadline = self._backend, time.monotonic() + REPLACEMENT_SECONDS
        if backend is None or backend.pool is None:
            return
        while len(backend.pool.pool) < len(self._workers) - self._missing and self.running:
            if time.monotonic() > deadline:
                self._missing = len(backend.recovering)
                break
            backend.recover()
            time.sleep(0.01)

    def replace_busy_workers(self) -> None:
        """Kill workers that are still at work although nobody waits for it any more; Ray starts new ones."""
        backend = self._backend
        if backend is None or backend.pool is None or self._leave.is_set():
            return
        others = {id(worker) for worker in (*backend.pool.pool, *backend.recovering)}
        for worker in self._workers:
            if id(worker) not in others:
                ray.kill(worker, no_restart=False)

    def stop(self) -> None:
        """Kill the workers, busy or not, and wait for the background thread, for at most ``STOP_SECONDS``."""
        self._leave.set()
        for worker in self._workers:
            with suppress(Exception):  # it may be dead already, or Ray gone
                ray.kill(worker, no_restart=True)
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _simulate(self) -> None:
        server = ServerApp()

        @server.main()
        def lend_grid(grid: Grid, context: Context) -> None:
            self._grid = grid
            self._leave.wait()

        try:
            with recovering_backend(self._built, self._warm_up):
                run_simulation(
                    server,
                    measuring_app,
                    self._nodes,
                    backend_config={"init_args": {}, "client_resources": dict(self._worker_resources)},
                    verbose_logging=self._verbose,
                )
        except BaseException as error:
            self._failure = error.__cause__ or error
        finally:
            # When the backend fails, Flower leaves its ServerApp waiting.
            self._leave.set()

    def _built(self, backend: RecoveringBackend) -> None:
        if backend.pool is not None:
            self._workers = list(backend.pool.pool)
        self._backend = backend
