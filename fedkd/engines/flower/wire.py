"""What a Flower message carries; the only module that knows the record keys.

One message takes a job to a *cohort* of clients, and one reply brings their replies back, the arrays of one name
joined over the clients, so that the cost of a message is paid once per cohort and not once per client.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fedkd.client.performer import describe
from fedkd.core.messages import Arrays, Job, Reply
from fedkd.core.packing import NDArray, pack, unpack
from fedkd.core.texts import shown
from fedkd.engines.sendable import failures, sendable

PUBLIC_MESSAGE = "query.public"
"""Type of the messages that carry a part of what the server tells nodes of its data (``fedkd.data.common``)."""

COHORT_MESSAGE = "train.cohort"
"""Type of the messages that carry a cohort."""

READY_MESSAGE = "query.ready"
"""Type of the messages that ask whether a worker can start working."""

_UNBOUNDED = -1

_ARRAY_ENVELOPE = 1_000
"""Bytes that describe an array beside its elements, at most."""

_HEADER_CHARACTERS = 100_000
"""What may be said of each client's reply beside its arrays: their layout, an error."""

_PARAMETERS, _PERSONAL, _JOB, _ARRAYS, _REPLY = "parameters", "personal", "job", "arrays", "reply"

_NOTHING = -1
"""Stands for a whole number that a client did not declare."""

_UNTOLD = -1.0
"""Stands for an ε that a client did not declare."""


@dataclass(frozen=True)
class Cohort:
    """A job, the clients that do it, and the import path ``module:function`` of what does it.

    ``seconds`` after the message was made, nobody waits for the reply any more. ``threads`` is how many torch threads
    each client uses. ``state_key`` is for nodes that keep their clients' state themselves: what they file this
    experiment's under (None: where the job says). ``memory`` is for simulated nodes: ``Host.memory``. ``common`` is for
    nodes with private data of their own: the digest of what they know of the server's (empty: nothing).
    """

    job: Job
    clients: tuple[int, ...]
    client_fn: str
    seconds: float
    threads: int = 1
    state_key: str | None = None
    memory: str | None = None
    common: str = ""


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
    ``nonce``, which is used once. ``common`` is as in ``Cohort``.
    """

    client_fn: str
    config: str = ""
    directory: str = ""
    nonce: str = ""
    common: str = ""


@dataclass(frozen=True)
class Part:
    """The part ``index``, from 0, of ``count`` of a file with what the server tells nodes of its data."""

    digest: str
    index: int
    count: int
    content: bytes


@dataclass(frozen=True)
class Claim:
    """Which partition a node says that it holds, and its signature (empty: it has no keys)."""

    partition: Partition
    signature: bytes = b""


NO_CLAIM = Claim(NO_PARTITION)


def claim_label(nonce: str, node: int, partition: Partition) -> bytes:
    """What a node signs with the key of its first client, which has the partition's number."""
    return json.dumps(["fedkd node", nonce, node, partition.index, partition.count]).encode()


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
            "common": cohort.common,
            "clients": list(cohort.clients),
            "accepted": [job.accepted.get(client, 0) for client in cohort.clients],
            "wants": sorted(job.wants),
            "most_bytes": _UNBOUNDED if job.most_bytes is None else job.most_bytes,
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
        most_bytes=None if header["most_bytes"] == _UNBOUNDED else header["most_bytes"],
    )
    key, memory = header["state_key"] or None, header["memory"] or None
    rest = header["client_fn"], header["seconds"], header["threads"], key, memory, header["common"]
    return Cohort(job, clients, *rest)


def encode_replies(replies: Sequence[Reply], most_bytes: int | None = None) -> RecordDict:
    """The content of a reply to a job with ``most_bytes``: what clients release, and nothing of what they measure.

    A reply that cannot travel is replaced by its own error.
    """
    travelling = [sendable(replace(reply, measured=None), most_bytes) for reply in replies]
    arrays, layout = pack([reply.arrays for reply in travelling])
    header = ConfigRecord(
        {
            "clients": [reply.client for reply in travelling],
            "failed": [not reply.ok for reply in travelling],
            "errors": [reply.error or "" for reply in travelling],
            "rounds": [_NOTHING if reply.round is None else reply.round for reply in travelling],
            "examples": [_NOTHING if reply.examples is None else reply.examples for reply in travelling],
            "epsilons": [_UNTOLD if reply.epsilon is None else reply.epsilon for reply in travelling],
            "digests": [reply.public_digest or "" for reply in travelling],
            "layout": layout,
        }
    )
    return RecordDict({_ARRAYS: _numbered(arrays), _REPLY: header})


def decode_replies(message: Message, clients: Sequence[int], most_bytes: int | None = None) -> list[Reply]:
    """The replies of a cohort to a job with ``most_bytes``, in the order of ``clients``.

    Never raises: a reply that carries an error, or that is malformed, becomes an error of each of the clients.
    """
    if message.has_error():
        return failures(clients, message.error.reason or f"Flower error code {message.error.code}")
    try:
        _check_size(message.content, len(clients), most_bytes)
        return _decode_replies(message.content, clients)
    except Exception as error:  # whatever a foreign or damaged reply provokes must cost its own clients only
        return failures(clients, f"malformed reply: {type(error).__name__}: {error}")


def encode_ready(ready: Ready) -> RecordDict:
    """The content of a message that asks a worker whether it can start."""
    return RecordDict({_JOB: ConfigRecord(asdict(ready))})


def decode_ready(content: RecordDict) -> Ready:
    """The inverse of ``encode_ready``; raises ``KeyError`` or ``TypeError`` for anything else."""
    header = content.config_records[_JOB]
    return Ready(**{each.name: str(header[each.name]) for each in fields(Ready)})


def encode_part(part: Part) -> RecordDict:
    """The content of a message with a part of a file."""
    return RecordDict({_JOB: ConfigRecord(asdict(part))})


def decode_part(content: RecordDict) -> Part:
    """The inverse of ``encode_part``; raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
    header: Any = content.config_records[_JOB]
    part = Part(**{each.name: header[each.name] for each in fields(Part)})
    if not (isinstance(part.content, bytes) and isinstance(part.digest, str)):
        raise TypeError("a part of a file is bytes, and its digest a text")
    return replace(part, index=int(part.index), count=int(part.count))


def encode_ready_reply(error: str | None, claim: Claim = NO_CLAIM, *, lacks: bool = False) -> RecordDict:
    """A worker's answer: None when it is ready, else the reason why not; and which partition it holds.

    It ``lacks`` what the server tells of its data, where it has yet to be sent that.
    """
    header = ConfigRecord(
        {"failed": error is not None, "error": error or "", "lacks": lacks, "signature": claim.signature}
    )
    for name, value in (("partition", claim.partition.index), ("partitions", claim.partition.count)):
        if value is not None:
            header[name] = value
    return RecordDict({_REPLY: header})


def decode_ready_reply(message: Message) -> str | None:
    """Why the worker that sent ``message`` cannot work, as a text fit to be shown; None when it can."""
    if message.has_error():
        return shown(message.error.reason or f"Flower error code {message.error.code}")
    try:
        header = message.content.config_records[_REPLY]
        return shown(str(header["error"])) if header["failed"] else None
    except KeyError as error:
        return shown(f"malformed reply: {describe(error)}")


def decode_lacks(message: Message) -> bool:
    """Whether the node that sent ``message``, which carries no error, lacks what the server tells of its data."""
    header: Any = message.content.config_records[_REPLY]
    return header.get("lacks", False) is True


def decode_claim(message: Message) -> Claim:
    """What the node that sent ``message`` claims; nothing where it carries an error or is malformed."""
    if message.has_error() or _REPLY not in message.content.config_records:
        return NO_CLAIM
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
            round=None if round == _NOTHING else round,
            examples=None if examples == _NOTHING else examples,
            epsilon=None if epsilon == _UNTOLD else epsilon,
            public_digest=digest or None,
            error=error if failed else None,
        )
        for client, own, round, examples, epsilon, digest, failed, error in zip(
            clients,
            arrays,
            header["rounds"],
            header["examples"],
            header["epsilons"],
            header["digests"],
            header["failed"],
            header["errors"],
            strict=True,
        )
    ]


def _numbered(arrays: Sequence[NDArray]) -> ArrayRecord:
    return ArrayRecord({str(key): Array(array) for key, array in enumerate(arrays)})


def _in_order(record: ArrayRecord) -> list[NDArray]:
    found = [record[str(key)].numpy() for key in range(len(record))]
    if not all(type(array) is np.ndarray for array in found):
        raise ValueError("an array is something else")
    return found


def _check_size(content: RecordDict, clients: int, most_bytes: int | None) -> None:
    """Raises ``ValueError`` for a reply that is larger than ``clients`` of them can be, before it is decoded."""
    arrays = [len(array.data) for record in content.array_records.values() for array in record.values()]
    if most_bytes is not None and sum(arrays) > (most := clients * most_bytes + len(arrays) * _ARRAY_ENVELOPE):
        raise ValueError(f"{sum(arrays)} bytes of arrays, at most {most} were asked for")
    length = sum(_characters(value) for record in content.config_records.values() for value in record.values())
    if length > (most := (clients + 1) * _HEADER_CHARACTERS):
        raise ValueError(f"{length} characters beside the arrays, at most {most} are allowed")


def _characters(value: object) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return sum(map(_characters, value)) if isinstance(value, list) else 0
