"""Clients that fail in every way there is, when the table says so; imported by path, here and in Ray's workers."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

# What the first client of a process would otherwise import while its round's time runs.
import numpy as np
import numpy.typing as npt

from fedkd import client as local
from fedkd.core.codecs.float32 import Float32
from fedkd.core.coding.bits import pack
from fedkd.core.messages import Job, Reply
from fedkd.engines.ray import worker

TIMEOUT = 15.0
"""Seconds that a round may take."""

CLIENTS, ROUNDS, MIN_REPORTS = 6, 10, 2


@dataclass(frozen=True)
class Fault:
    """In this round, this client does the thing of that name, for which the record gives a reason."""

    name: str
    round: int
    client: int
    reason: str


FAULTS = (
    Fault("raises_an_exception", 2, 0, r"OSError: no data on this device"),
    Fault("leaves_python", 2, 3, r"SystemExit: enough"),
    Fault("asks_for_too_much_memory", 2, 5, r"MemoryError"),
    Fault("exits", 3, 2, r"the worker process died"),
    Fault("is_killed_after_its_work", 3, 4, r"the worker process died"),
    Fault("hangs", 4, 1, r"no reply within engine.timeout = 15 s"),
    Fault("is_late", 4, 3, r"no reply within engine.timeout = 15 s"),
    Fault("sends_too_few_samples", 5, 0, r"logits: Float32 cannot decode a message of \d+ bytes: \d+ rows take \d+"),
    Fault("sends_another_dtype", 5, 1, r"ValueError: sent \d+ bytes, at most \d+ were asked for"),
    Fault("sends_another_shape", 5, 2, r"logits must be uint8 of shape \(≤ \d+,\), got uint8 of shape \(1, \d+\)"),
    Fault("sends_nan", 5, 4, r"logits: Float32 cannot decode .* values that are not finite"),
    Fault("sends_infinity", 6, 1, r"logits: Float32 cannot decode .* values that are not finite"),
    Fault("exceeds_the_bound", 6, 2, r"logits must lie within ±10000, got 10001"),
    Fault("answers_for_another_round", 6, 3, r"answered for round 7, not 6"),
    Fault("answers_on_another_public_set", 6, 5, r"answered on another public set"),
    Fault("reports_twice", 7, 0, r"malformed reply: .*answers for clients \[0, 0\], asked for \[0\]"),
    Fault("sends_no_arrays", 7, 1, r"sent no logits"),
    Fault("answers_as_another_client", 7, 2, r"malformed reply: .*answers for clients \[3\], asked for \[2\]"),
    Fault("sends_objects", 7, 5, r"ValueError: array 'logits' must hold numbers .*, got object"),
    Fault("counts_no_examples", 8, 4, r"example count must be a whole number from 0 to \d+, got -2"),
    *(Fault("raises_an_exception", 9, client, r"OSError: no data on this device") for client in range(5)),
)
"""At most ``CLIENTS`` - ``MIN_REPORTS`` in a round, but for the ninth, which stops the run."""

_TABLE = {(fault.round, fault.client): fault.name for fault in FAULTS}


def perform(job: Job, client: int) -> Reply:
    """The client's reply; notes which process did it in the file that the environment names."""
    with Path(os.environ["FAULTY_CLIENTS_LOG"]).open("a") as log:
        log.write(f"{job.round} {client} {os.getpid()}\n")
    time.sleep(0.05)
    fault = _TABLE.get((job.round, client))
    reply: Reply = local.perform(job, client) if fault is None else globals()[fault](job, client)
    return reply


def raises_an_exception(job: Job, client: int) -> Reply:
    raise OSError("no data on this device")


def leaves_python(job: Job, client: int) -> Reply:
    sys.exit("enough")


def asks_for_too_much_memory(job: Job, client: int) -> Reply:
    return Reply(client, {"logits": np.zeros(2**60, np.uint8)})


def exits(job: Job, client: int) -> Reply:
    os._exit(7)


def is_killed_after_its_work(job: Job, client: int) -> Reply:
    local.perform(job, client)
    os.kill(os.getpid(), signal.SIGKILL)
    return Reply(client)


def hangs(job: Job, client: int) -> Reply:
    time.sleep(3600)
    return Reply(client)


def is_late(job: Job, client: int) -> Reply:
    reply = local.perform(job, client)
    time.sleep(TIMEOUT)
    return reply


def sends_too_few_samples(job: Job, client: int) -> Reply:
    return _message(job, client, lambda message: message[:-40])


def sends_another_dtype(job: Job, client: int) -> Reply:
    return _message(job, client, lambda message: message.astype(np.float32))


def sends_another_shape(job: Job, client: int) -> Reply:
    return _message(job, client, lambda message: message[np.newaxis])


def sends_nan(job: Job, client: int) -> Reply:
    return _message(job, client, lambda message: _with_logit(message, np.nan))


def sends_infinity(job: Job, client: int) -> Reply:
    return _message(job, client, lambda message: _with_logit(message, -np.inf))


def exceeds_the_bound(job: Job, client: int) -> Reply:
    return _message(job, client, lambda message: _with_logit(message, 10_001.0))


def answers_for_another_round(job: Job, client: int) -> Reply:
    return replace(local.perform(job, client), round=job.round + 1)


def answers_on_another_public_set(job: Job, client: int) -> Reply:
    return replace(local.perform(job, client), public_digest="0123456789abcdef")


def counts_no_examples(job: Job, client: int) -> Reply:
    return replace(local.perform(job, client), examples=-2)


def reports_twice(job: Job, client: int) -> Reply:
    _tamper(lambda replies: [*replies, *replies])
    return local.perform(job, client)


def answers_as_another_client(job: Job, client: int) -> Reply:
    _tamper(lambda replies: [replace(reply, client=client + 1) for reply in replies])
    return local.perform(job, client)


def sends_no_arrays(job: Job, client: int) -> Reply:
    return replace(local.perform(job, client), arrays={})


def sends_objects(job: Job, client: int) -> Reply:
    return replace(local.perform(job, client), arrays={"logits": np.array([object()])})


def _message(job: Job, client: int, change: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.generic]]) -> Reply:
    reply = local.perform(job, client)
    return replace(reply, arrays={"logits": change(reply.arrays["logits"])})


def _with_logit(message: npt.NDArray[np.uint8], logit: float) -> npt.NDArray[np.uint8]:
    """A message of the codec float32 with one logit as the codec would not write it."""
    codec = Float32()
    logits = codec.decode(message.tobytes(), samples=(len(message) - 1) // 40, classes=10).logits.numpy().copy()
    logits[3, 7] = logit
    return np.concatenate([message[:1], np.frombuffer(pack(codec.codes_of(logits), [32] * 10), np.uint8)])


def _tamper(change: Callable[[list[Reply]], list[Reply]]) -> None:
    """Change this process's next reply after the client is done with it."""
    module = vars(worker)
    encode = module["encode_replies"]

    def once(replies: list[Reply], most_bytes: int | None) -> object:
        module["encode_replies"] = encode
        return encode(change(replies), most_bytes)

    module["encode_replies"] = once
