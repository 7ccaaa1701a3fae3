"""The federation that a ServerApp is given: simulated nodes, or those of a real deployment."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from flwr.serverapp import Grid
from flwr.superlink.grid import InMemoryGrid

from fedkd.client.state import require_state_here, state_key
from fedkd.config.schema import EngineConfig
from fedkd.core.errors import RunError
from fedkd.core.messages import Job, Reply
from fedkd.data.common import CommonData
from fedkd.engines.flower.discovery import JOIN_SECONDS, discover_nodes
from fedkd.engines.flower.grid import START_SECONDS, GridEngine, Nodes, push
from fedkd.engines.flower.wire import READY_MESSAGE, Ready, decode_claim, decode_ready_reply, encode_ready
from fedkd.engines.resources import Workload, cores, gpu_count
from fedkd.privacy.secure_sum.identities import Directory


class FederationEngine:
    """Runs clients on the nodes behind a ServerApp's grid, however many there are.

    Simulated nodes are all alike, so cohorts go to any of them, and clients keep their state where the job says. In a
    deployment a client lives on one node, client c on node c mod N, and its state stays there, under a key that the
    server keeps with the run; the nodes are asked whether they are there for the ``experiment`` (JSON), and known
    by their keys where there is a ``directory`` of public ones. ``common`` is what nodes with private data of their own
    are told of the server's, which takes a deployment. ``join`` is how many seconds nodes may take to connect. The rest
    is as in ``RayEngine``.
    Entering raises ``RunError`` when the nodes do not fit the clients or cannot work; it never waits without end.
    """

    def __init__(
        self,
        grid: Grid,
        config: EngineConfig,
        workload: Workload,
        *,
        experiment: str = "",
        directory: Directory | None = None,
        common: CommonData | None = None,
        join: float = JOIN_SECONDS,
    ) -> None:
        self._grid = grid
        self._config = config
        self._workload = workload
        self._experiment, self._directory, self._common = experiment, directory, common
        self._join = join
        self._simulated = isinstance(grid, InMemoryGrid)
        self._nodes = 0
        self._engine: GridEngine | None = None

    def __enter__(self) -> Self:
        config, workload, homes = self._config, self._workload, None
        if self._simulated:
            if self._common is not None:
                raise RunError(
                    "data.partition.scheme=at_home leaves private data on the nodes of a deployment, and Flower's "
                    "simulated nodes have none; deploy it, or simulate the split by data.partition.scheme=given"
                )
            self._nodes = _simulated_nodes(self._grid, workload.client_fn)
        else:
            found = discover_nodes(
                self._grid,
                workload.clients,
                workload.client_fn,
                config=self._experiment,
                directory=self._directory,
                common=self._common,
                join=self._join,
            )
            self._nodes = len(found)
            homes = {client: found[client % len(found)] for client in range(workload.clients)}
        gpus = gpu_count() if config.device == "cuda" else 0
        self._engine = GridEngine(
            self._grid,
            Nodes(self._nodes, config.workers or cores(), gpus, homes, self._common.digest if self._common else ""),
            workload,
            timeout=config.timeout,
            clients_per_node=config.clients_per_node,
        )
        self._engine.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine = None

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        """One reply per client, as replies arrive; see ``GridEngine.run``."""
        if self._engine is None:
            raise RunError("the engine is not running; use it in a with statement")
        key = None
        if job.state_dir is not None:
            if self._simulated:
                require_state_here(Path(job.state_dir))
            else:
                key = state_key(Path(job.state_dir), self._nodes)
        yield from self._engine.run(job, clients, state_key=key)


def _simulated_nodes(grid: Grid, client_fn: str) -> int:
    """How many nodes Flower simulates, which one of them knows: they appear one by one while the ServerApp starts."""
    deadline = time.monotonic() + START_SECONDS
    while not (nodes := list(grid.get_node_ids())):
        if time.monotonic() > deadline:
            raise RunError(f"Flower simulated no node within {START_SECONDS:g} s; set num-supernodes to at least 1")
        time.sleep(0.01)
    (identifier,) = push(grid, [(nodes[0], encode_ready(Ready(client_fn)))], READY_MESSAGE, START_SECONDS)
    while not (messages := list(grid.pull_messages([identifier]))):
        if time.monotonic() > deadline:
            raise RunError(
                f"no simulated node answered within {START_SECONDS:g} s; free some cores, or set "
                "client-resources-num-cpus to no more than there are"
            )
        time.sleep(0.05)
    if (reason := decode_ready_reply(messages[0])) is not None:
        raise RunError(f"a simulated node cannot work: {reason}")
    return decode_claim(messages[0]).partition.count or 1
