"""A worker: does what it is sent over its connection until that is closed."""

import os
import pickle
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

from fedkd.client.performer import attempt_all, describe, load_client_fn
from fedkd.core.compute import fixed_threads, release_memory
from fedkd.core.messages import Arrays, Host, Job, Reply
from fedkd.engines.ray.protocol import COHORT, GREETING, JOB
from fedkd.engines.sendable import failures, sendable

LONG_SECONDS = 1.0
"""Work after which tidying up memory takes no time worth mentioning."""


@dataclass(frozen=True)
class Cohort:
    """Clients that are to do a job, with what is theirs alone, and how.

    ``expiry`` is the time in seconds since the epoch after which nobody waits for their replies; ``threads`` is how
    many torch threads each uses. ``memory`` is ``Host.memory``.
    """

    clients: tuple[int, ...]
    client_fn: str
    expiry: float
    threads: int
    personal: dict[int, Arrays]
    accepted: dict[int, int]
    memory: str | None


def encode_job(job: Job) -> bytes:
    """The part of a job that all cohorts share."""
    return pickle.dumps(replace(job, personal={}, accepted={}), pickle.HIGHEST_PROTOCOL)


def encode_cohort(
    job: Job, cohort: Sequence[int], client_fn: str, seconds: float, threads: int, memory: str | None
) -> bytes:
    """A cohort of a job, to be done within so many seconds."""
    own = {client: job.personal[client] for client in cohort if client in job.personal}
    accepted = {client: job.accepted[client] for client in cohort if client in job.accepted}
    asked = Cohort(tuple(cohort), client_fn, time.time() + seconds, threads, own, accepted, memory)
    return pickle.dumps(asked, pickle.HIGHEST_PROTOCOL)


def encode_replies(replies: Sequence[Reply], most_bytes: int | None = None) -> bytes:
    """Replies to a job with ``most_bytes``; one that cannot travel is replaced by its own error."""
    return pickle.dumps([sendable(reply, most_bytes) for reply in replies], pickle.HIGHEST_PROTOCOL)


def decode_replies(content: bytes, clients: Sequence[int]) -> list[Reply]:
    """The replies of a cohort, in the order of ``clients``; what cannot be read is an error of each of them."""
    try:
        replies = pickle.loads(content)
        if not all(type(reply) is Reply for reply in replies):
            raise ValueError("something else than replies")
        if (answered := [reply.client for reply in replies]) != list(clients):
            raise ValueError(f"answers for clients {answered}, asked for {list(clients)}")
    except Exception as error:  # of a class that is not here, say
        return failures(clients, f"malformed reply: {describe(error)}")
    return list(replies)


def work(connection: Connection) -> None:
    """Answer frames until nobody is there to ask; the first that is sent is this process's id."""
    job = b""
    with suppress(EOFError, OSError):
        connection.send_bytes(str(os.getpid()).encode())
        while frame := connection.recv_bytes():
            kind, content = frame[:1], frame[1:]
            if kind == JOB:
                job = content
            elif kind == GREETING:
                connection.send_bytes(_prepare(*pickle.loads(content)))
            elif kind == COHORT:
                connection.send_bytes(_perform(job, pickle.loads(content)))


def _prepare(client_fn: str, gpu: str | None) -> bytes:
    """Load what does the clients' work, on the GPU of that name; why that fails, or nothing."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        load_client_fn(client_fn)
    except Exception as error:
        return describe(error).encode()
    return b""


def _perform(content: bytes, cohort: Cohort) -> bytes:
    begun = time.monotonic()
    try:
        job: Job = pickle.loads(content)
        host = None if cohort.memory is None else Host(cohort.memory)
        job = replace(job, personal=cohort.personal, accepted=cohort.accepted, host=host)
        client_fn = load_client_fn(cohort.client_fn)
    except Exception as error:
        return encode_replies(failures(cohort.clients, describe(error)))
    with fixed_threads(cohort.threads):
        replies = list(attempt_all(client_fn, job, cohort.clients, awaited=lambda: time.time() < cohort.expiry))
    sent = encode_replies(replies, job.most_bytes)
    if time.monotonic() - begun > LONG_SECONDS:
        del replies
        release_memory()
    return sent
