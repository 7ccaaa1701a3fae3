"""What a Flower message carries; the only module that knows the record keys.

One message takes a job to a *cohort* of clients, and one reply brings their replies back, the arrays of one name
joined over the clients, so that the cost of a message is paid once per cohort and not once per client.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedkd.core.messages import Arrays, Job, Measurement, Reply
from fedkd.core.packing import NDArray, pack, unpack

COHORT_MESSAGE = "train.cohort"
"""Type of the messages that carry a cohort."""

READY_MESSAGE = "query.ready"
"""Type of the messages that ask whether a worker can start working."""

_PARAMETERS, _PERSONAL, _JOB, _ARRAYS, _REPLY = "parameters", "personal", "job", "arrays", "reply"
_MEASURED, _MEASURED_ARRAYS = "measured", ("test_logits", "test_mask", "test_features")

_NOTHING = -1
"""Stands for a whole number that a client did not declare."""


@dataclass(frozen=True)
class Cohort:
    """A job, the clients that do it, and the import path ``module:function`` of what does it.

    ``seconds`` after the message was made, nobody waits for the reply any more. ``threads`` is how many torch threads
    each client uses. ``state_key`` is for nodes that keep their clients' state themselves: what they file this
    experiment's under (None: where the job says). ``memory`` is for simulated nodes: ``Host.memory``.
    """

    job: Job
    clients: tuple[int, ...]
    client_fn: str
    seconds: float
    threads: int = 1
    state_key: str | None = None
    memory: str | None = None


@dataclass(frozen=True)
class Partition:
    """Which of a federation's partitions a node holds: ``index``, from 0, of ``count``; None where it was told none."""

    index: int | None
    count: int | None


NO_PARTITION = Partition(None, None)


@dataclass(frozen=True)
class Ready:
    """What a node is asked before it gets work: to load ``client_fn``, whether it works for the experiment ``config``
    (JSON; empty: not asked), and to claim its partition.

    ``directory`` is the digest of the server's directory of public keys (empty: it has none). A claim is signed for
    ``nonce``, which is used once.
    """

    client_fn: str
    config: str = ""
    directory: str = ""
    nonce: str = ""


@dataclass(frozen=True)
class Claim:
    """Which partition a node says that it holds, and its signature (empty: it has no keys)."""

    partition: Partition
    signature: bytes = b""


NO_CLAIM = Claim(NO_PARTITION)


def claim_label(nonce: str, node: int, partition: Partition) -> bytes:
    """What a node signs with the key of its first client, which has the partition's number."""
    return json.dumps(["fedkd node", nonce, node, partition.index, partition.count]).encode()


def payload_bytes(arrays: Arrays) -> int:
    """Bytes of the array elements, without names and headers."""
    return sum(array.nbytes for array in arrays.values())


def reply_bytes(reply: Reply) -> int:
    """Bytes of all array elements of a reply."""
    return payload_bytes(reply.arrays) + (
        0 if reply.measured is None else payload_bytes(measured_arrays(reply.measured))
    )


def encode_parameters(parameters: Arrays) -> ArrayRecord:
    """Arrays as a record that may be shared by the messages of several cohorts, so that they are serialised once."""
    return ArrayRecord({name: Array(array) for name, array in parameters.items()})


def decode_parameters(record: ArrayRecord) -> Arrays:
    """The arrays of a record."""
    return {name: array.numpy() for name, array in record.items()}


def encode_cohort(cohort: Cohort, parameters: ArrayRecord | None = None) -> RecordDict:
    """The content of a cohort's message; ``parameters`` is its job's, already encoded.

    Of the job's personal arrays and accepted rounds only those of the cohort's own clients travel.
    """
    job = cohort.job
    personal, layout = pack([job.personal.get(client, {}) for client in cohort.clients])
    header = ConfigRecord(
        {
            "kind": job.kind,
            "round": job.round,
            "config": job.config,
            "measure": job.measure,
            "probe": job.probe,
            "state_dir": job.state_dir or "",
            "client_fn": cohort.client_fn,
            "seconds": cohort.seconds,
            "threads": cohort.threads,
            "state_key": cohort.state_key or "",
            "memory": cohort.memory or "",
            "clients": list(cohort.clients),
            "accepted": [job.accepted.get(client, 0) for client in cohort.clients],
            "wants": sorted(job.wants),
            "layout": layout,
        }
    )
    record = encode_parameters(job.parameters) if parameters is None else parameters
    return RecordDict({_PARAMETERS: record, _PERSONAL: _numbered(personal), _JOB: header})


def decode_cohort(content: RecordDict) -> Cohort:
    """The inverse of ``encode_cohort``; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    header: Any = content.config_records[_JOB]
    clients = tuple(header["clients"])
    personal = unpack(_in_order(content.array_records[_PERSONAL]), header["layout"], len(clients))
    job = Job(
        kind=header["kind"],
        round=header["round"],
        config=header["config"],
        parameters=decode_parameters(content.array_records[_PARAMETERS]),
        personal={client: own for client, own in zip(clients, personal, strict=True) if own},
        measure=header["measure"],
        probe=header["probe"],
        state_dir=header["state_dir"] or None,
        accepted={client: round for client, round in zip(clients, header["accepted"], strict=True) if round > 0},
        wants=frozenset(header["wants"]),
    )
    key, memory = header["state_key"] or None, header["memory"] or None
    return Cohort(job, clients, header["client_fn"], header["seconds"], header["threads"], key, memory)


def encode_replies(replies: Sequence[Reply], *, measured: bool = False) -> RecordDict:
    """The content of a reply: what clients release, and what they ``measured`` only between parts of a simulator.

    A reply that cannot be serialised is replaced by its own error.
    """
    sendable = [_sendable(reply) for reply in replies]
    arrays, layout = pack([reply.arrays for reply in sendable])
    header = ConfigRecord(
        {
            "clients": [reply.client for reply in sendable],
            "failed": [not reply.ok for reply in sendable],
            "errors": [reply.error or "" for reply in sendable],
            "rounds": [_NOTHING if reply.round is None else reply.round for reply in sendable],
            "examples": [_NOTHING if reply.examples is None else reply.examples for reply in sendable],
            "digests": [reply.public_digest or "" for reply in sendable],
            "layout": layout,
        }
    )
    content = RecordDict({_ARRAYS: _numbered(arrays), _REPLY: header})
    if measured:
        found = [reply.measured for reply in sendable]
        arrays, header["measured_layout"] = pack([{} if own is None else measured_arrays(own) for own in found])
        header["accuracies"] = json.dumps(
            [None if own is None else (own.validation_accuracy, own.test_accuracy) for own in found]
        )
        header["tracebacks"] = [reply.traceback for reply in replies]
        content[_MEASURED] = _numbered(arrays)
    return content


def measured_arrays(measured: Measurement) -> Arrays:
    """The arrays of a measurement, by the names of its fields."""
    named = {name: getattr(measured, name) for name in _MEASURED_ARRAYS}
    return {name: array for name, array in named.items() if array is not None}


def decode_replies(message: Message, clients: Sequence[int], *, measured: bool = False) -> list[Reply]:
    """The replies of a cohort, in the order of ``clients``; what was ``measured`` is read only where that is asked for.

    Never raises: a reply that carries an error, or that is malformed, becomes an error of each of the clients.
    """
    if message.has_error():
        return failures(clients, message.error.reason or f"Flower error code {message.error.code}")
    try:
        replies = _decode_replies(message.content, clients)
        return _with_measurements(replies, message.content) if measured else replies
    except Exception as error:  # whatever a foreign or damaged reply provokes must cost its own clients only
        return failures(clients, f"malformed reply: {type(error).__name__}: {error}")


def decode_unaddressed_replies(message: Message) -> list[Reply]:
    """The replies of a reply whose request is not at hand; none when it carries an error or is malformed."""
    if message.has_error():
        return []
    try:
        header: Any = message.content.config_records[_REPLY]
        return _decode_replies(message.content, list(header["clients"]))
    except Exception:  # as in decode_reply; who was meant cannot be known, so the clients count as silent
        return []


def encode_metrics(metrics: Mapping[str, float | int | None]) -> MetricRecord:
    """Numbers for Flower's own logs; missing ones are left out."""
    return MetricRecord({name: value for name, value in metrics.items() if value is not None})


def failures(clients: Iterable[int], reason: str) -> list[Reply]:
    """One failed reply per client, all for the same reason."""
    return [Reply(client, error=reason) for client in clients]


def encode_ready(ready: Ready) -> RecordDict:
    """The content of a message that asks a worker whether it can start."""
    return RecordDict({_JOB: ConfigRecord(asdict(ready))})


def decode_ready(content: RecordDict) -> Ready:
    """The inverse of ``encode_ready``; raises ``KeyError`` or ``TypeError`` for anything else."""
    header = content.config_records[_JOB]
    return Ready(**{each.name: str(header[each.name]) for each in fields(Ready)})


def encode_ready_reply(error: str | None, claim: Claim = NO_CLAIM) -> RecordDict:
    """A worker's answer: None when it is ready, else the reason why not; and which partition it holds."""
    header = ConfigRecord({"failed": error is not None, "error": error or "", "signature": claim.signature})
    for name, value in (("partition", claim.partition.index), ("partitions", claim.partition.count)):
        if value is not None:
            header[name] = value
    return RecordDict({_REPLY: header})


def decode_ready_reply(message: Message) -> str | None:
    """Why the worker that sent ``message`` cannot work; None when it can."""
    if message.has_error():
        return message.error.reason or f"Flower error code {message.error.code}"
    header = message.content.config_records[_REPLY]
    return str(header["error"]) if header["failed"] else None


def decode_claim(message: Message) -> Claim:
    """What the node that sent ``message``, which carries no error, claims; nothing where it is malformed."""
    header: Any = message.content.config_records[_REPLY]
    index, count, signature = header.get("partition"), header.get("partitions"), header.get("signature", b"")
    if not all(each is None or (isinstance(each, int) and not isinstance(each, bool)) for each in (index, count)):
        return NO_CLAIM
    return Claim(Partition(index, count), signature if isinstance(signature, bytes) else b"")


def _decode_replies(content: RecordDict, clients: Sequence[int]) -> list[Reply]:
    header: Any = content.config_records[_REPLY]
    if list(header["clients"]) != list(clients):
        raise ValueError(f"answers for clients {list(header['clients'])}, asked for {list(clients)}")
    arrays = unpack(_in_order(content.array_records[_ARRAYS]), header["layout"], len(clients))
    return [
        Reply(
            client,
            own,
            None if round == _NOTHING else round,
            None if examples == _NOTHING else examples,
            digest or None,
            error if failed else None,
        )
        for client, own, round, examples, digest, failed, error in zip(
            clients,
            arrays,
            header["rounds"],
            header["examples"],
            header["digests"],
            header["failed"],
            header["errors"],
            strict=True,
        )
    ]


def _with_measurements(replies: list[Reply], content: RecordDict) -> list[Reply]:
    header: Any = content.config_records[_REPLY]
    arrays = unpack(_in_order(content.array_records[_MEASURED]), header["measured_layout"], len(replies))
    accuracies = json.loads(header["accuracies"])
    return [
        replace(reply, measured=None if found is None else _measurement(found, own), traceback=traceback)
        for reply, found, own, traceback in zip(replies, accuracies, arrays, header["tracebacks"], strict=True)
    ]


def _measurement(accuracies: Sequence[float | None], arrays: Arrays) -> Measurement:
    validation, test = accuracies
    logits, mask, features = (arrays.get(name) for name in _MEASURED_ARRAYS)
    return Measurement(validation, test, logits, mask, features)


def _numbered(arrays: Sequence[NDArray]) -> ArrayRecord:
    return ArrayRecord({str(key): Array(array) for key, array in enumerate(arrays)})


def _in_order(record: ArrayRecord) -> list[NDArray]:
    return [record[str(key)].numpy() for key in range(len(record))]


def _sendable(reply: Reply) -> Reply:
    try:
        _check_arrays(reply.arrays)
        for name in ("round", "examples"):
            value = getattr(reply, name)
            if value is not None and (type(value) is not int or not -(2**63) <= value < 2**63):
                raise TypeError(f"{name} must be a whole number of 64 bits, got {value!r}")
        if not isinstance(reply.public_digest, str | None):
            raise TypeError(f"public_digest must be text, got {type(reply.public_digest).__name__}")
    except TypeError as error:
        return Reply(reply.client, error=f"TypeError: {error}")
    return reply


def _check_arrays(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"array {name!r} must be a NumPy array, got {type(array).__name__}")
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} must have a numeric dtype, got {array.dtype}")
