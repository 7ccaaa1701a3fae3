"""How many workers a machine can give, checked before anything is started."""

import os

import torch

from fedkd.config.schema import EngineConfig
from fedkd.errors import RunError


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_workers() -> int:
    """The most workers that Flower keeps busy at once: the size of its pool of dispatching threads."""
    return min(32, (os.cpu_count() or 1) + 4)


def worker_count(config: EngineConfig, clients: int) -> int:
    """Workers to start on this machine: ``engine.workers``, or one per core; never more than there are clients.

    Raises ``RunError`` when more are asked for than can be kept busy.
    """
    most = most_workers()
    if config.workers is not None and config.workers > most:
        raise RunError(
            f"engine.workers must be at most {most} on this machine with {os.cpu_count()} cores, got {config.workers}; "
            "lower it, or leave it out for one worker per core"
        )
    wanted = min(cores(), most) if config.workers is None else config.workers
    return max(1, min(wanted, clients))


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
