"""What the processes of the Ray engine say to each other; none of it needs torch.

Only processes of one simulation, and of one user, exchange it; so what is inside is pickled.
"""

from dataclasses import dataclass

JOB, COHORT, GREETING = b"J", b"C", b"G"
"""The first byte of what an actor sends a worker: a job of which cohorts follow; a cohort of it; and the first
question, which performer and which GPU to use."""


@dataclass(frozen=True)
class Begin:
    """What the machines are told: the performer, how long they may take to start, and for a Ray of the simulation's own
    the ``workers`` (None: a cluster has one for each of its CPUs), its fork server's ``path`` and its ``gpus``.

    On a cluster, ``gpus`` is () where none are used, and None where all are.
    """

    client_fn: str
    seconds: float
    workers: int | None = None
    path: str | None = None
    gpus: tuple[str, ...] | None = ()
