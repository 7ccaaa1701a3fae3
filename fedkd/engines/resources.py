"""What clients need and how many workers a machine can give, checked before anything is started."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from fedkd.client.performer import CLIENT_FN
from fedkd.config.schema import EngineConfig, ResourceConfig
from fedkd.core.errors import RunError

ONE_CORE = ResourceConfig()
"""What a client needs unless told otherwise."""


@dataclass(frozen=True)
class Workload:
    """What an engine is told of the work that it will be given.

    ``clients`` is how many clients there are in all; ``client_fn`` the import path of the function that does one
    client's work; ``costs`` maps clients to their relative cost (default: all equal), ``resources`` to what they need
    (default: one core each); ``answer_bytes`` is about what one client sends. ``memory`` is the folder in which
    simulated clients note what they gave away in secure sums; the nodes of a deployment have folders of their own.
    """

    clients: int = 1
    client_fn: str = CLIENT_FN
    costs: Mapping[int, float] | None = None
    resources: Mapping[int, ResourceConfig] = field(default_factory=dict)
    answer_bytes: int = 1
    memory: str | None = None

    def need_of(self, client: int) -> ResourceConfig:
        """What a client needs while it works."""
        return self.resources.get(client, ONE_CORE)

    @property
    def threads(self) -> int:
        """The threads of all clients together."""
        return sum(self.need_of(client).threads for client in range(self.clients))


_ROUNDING = 1e-9
"""Shares such as 1/3 do not add up to 1 exactly."""


def slots(need: ResourceConfig, workers: int, gpus: float) -> int:
    """How many clients of a class can work at once."""
    by_cores = workers // need.threads
    return by_cores if need.gpu == 0 else min(by_cores, int(gpus / need.gpu + _ROUNDING))


def admitted(
    queue: Sequence[ResourceConfig], working: Iterable[ResourceConfig], workers: int, gpus: float
) -> list[int]:
    """Positions in ``queue`` of what can start now beside what is ``working``, earlier ones first.

    Clients that need a core each and no GPU are bounded by the workers anyhow: when there are no others, all may queue
    up there. Else the threads at work never exceed ``workers``, nor the shares ``gpus``.
    """
    busy = list(working)
    if all(need == ONE_CORE for need in (*queue, *busy)):
        return list(range(len(queue)))
    threads = workers - sum(need.threads for need in busy)
    share = gpus - sum(need.gpu for need in busy) + _ROUNDING
    found = []
    for position, need in enumerate(queue):
        if need.threads <= threads and need.gpu <= share:
            found.append(position)
            threads -= need.threads
            share -= need.gpu
    return found


def require_slots(resources: Mapping[int, ResourceConfig], workers: int, gpus: float) -> None:
    """Raise ``RunError`` for a class of clients of which not even one can work at a time."""
    for client, need in sorted(resources.items()):
        if slots(need, workers, gpus) < 1:
            raise RunError(
                f"engine.resources: clients with threads = {need.threads}, gpu = {need.gpu:g} (client {client} is one) "
                f"need more than there is: workers with {workers} cores together and {gpus:g} GPUs; lower what they "
                "need, or raise engine.workers, or set engine.device=cuda where there are GPUs"
            )


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_count(config: EngineConfig, threads: int) -> int:
    """Workers to start on this machine: ``engine.workers``, or one per core; no more than the clients have threads."""
    wanted = cores() if config.workers is None else config.workers
    return max(1, min(wanted, threads))


def gpu_count() -> int:
    """The GPUs that torch sees."""
    return torch.cuda.device_count()


def gpu_share(config: EngineConfig, workers: int, gpus: int) -> float:
    """The part of a GPU each worker gets: 0 on the CPU, else 1 / (workers per GPU, rounded up).

    Raises ``RunError`` when there is no GPU to share.
    """
    if config.device == "cpu":
        return 0.0
    if gpus < 1:
        raise RunError("engine.device = cuda needs a GPU, found none; set engine.device=cpu")
    return 1.0 / -(-workers // gpus)
