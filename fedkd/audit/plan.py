"""What the workers of an audit need to know, as a file that they all read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedkd.audit.candidates import CandidatePool
from fedkd.core.errors import FolderError
from fedkd.core.messages import Arrays, Job
from fedkd.core.sealed import load_sealed, save_sealed

PLAN = "plan.pt"
ACTUAL = -1
"""The shadow number of what really happened: the client's own data, and the run's own randomness."""


@dataclass(frozen=True)
class Plan:
    """One audit's work.

    ``jobs`` are those of the rounds that clients go through, in order, of which the last ``observed`` are observed;
    ``server`` is the checkpoint of the server before the last round.
    """

    jobs: tuple[Job, ...]
    observed: int
    pools: tuple[CandidatePool, ...]
    crafted: Tensor
    unseen: Tensor
    views: int
    surrogate_epochs: int
    server: str

    @property
    def config(self) -> str:
        """The experiment's configuration as JSON."""
        return self.jobs[-1].config

    def pool_of(self, client: int) -> CandidatePool | None:
        return next((pool for pool in self.pools if pool.client == client), None)


def save_plan(folder: Path, plan: Plan) -> None:
    """Write the plan for the workers."""
    content = {
        "jobs": [
            {
                "kind": job.kind,
                "round": job.round,
                "config": job.config,
                "parameters": _tensors(job.parameters),
                "personal": {client: _tensors(arrays) for client, arrays in job.personal.items()},
            }
            for job in plan.jobs
        ],
        "pools": [vars(pool) for pool in plan.pools],
        **{
            name: getattr(plan, name)
            for name in ("observed", "crafted", "unseen", "views", "surrogate_epochs", "server")
        },
    }
    save_tensors(folder / PLAN, content)


@lru_cache(maxsize=1)
def load_plan(folder: str) -> Plan:
    """The plan that a worker works on."""
    content = load_tensors(Path(folder) / PLAN)
    jobs = tuple(
        Job(
            job["kind"],
            job["round"],
            job["config"],
            _arrays(job["parameters"]),
            {client: _arrays(tensors) for client, tensors in job["personal"].items()},
        )
        for job in content.pop("jobs")
    )
    pools = tuple(CandidatePool(**pool) for pool in content.pop("pools"))
    return Plan(jobs=jobs, pools=pools, **content)


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values and tensors atomically."""
    save_sealed(path, content, _label(path))


def load_tensors(path: Path) -> dict[str, Any]:
    """What ``save_tensors`` wrote; raises ``FolderError`` for a file that is damaged or another's."""
    try:
        return load_sealed(path, _label(path))
    except FolderError as error:
        raise FolderError(f"{error}; remove {path.parent.parent}, and fedkd audit computes it again") from error


def _label(path: Path) -> str:
    """Which audit's file it is, and which of its files."""
    return f"audit's {'/'.join(path.parts[-3:])}"


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
