"""Clients that fail at a step of a secure sum; imported by path, here and in Ray's workers."""

import os
import signal

from fedkd.client.round import perform
from fedkd.core.messages import Job, Reply
from fedkd.privacy.secure_sum.terms import PHASES

KILLED = dict(enumerate(PHASES, start=1))
"""The step at which client 2's process is killed, by round."""


def raising(job: Job, client: int) -> Reply:
    """Client k raises at the k-th step."""
    if client < len(PHASES) and job.kind == f"secure/{PHASES[client]}":
        raise OSError(f"client {client} is out of battery")
    return perform(job, client)


def dying(job: Job, client: int) -> Reply:
    """Client 2's process is killed once a round."""
    if client == 2 and job.kind == f"secure/{KILLED.get(job.round)}":
        os.kill(os.getpid(), signal.SIGKILL)
    return perform(job, client)
