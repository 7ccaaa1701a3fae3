"""What a Flower message carries; the only module that knows the record keys.

One message takes a job to a *cohort* of clients, and one reply brings their outcomes back, the arrays of one name
joined over the clients, so that the cost of a message is paid once per cohort and not once per client.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedkd.core.messages import Arrays, Job, Outcome
from fedkd.core.packing import NDArray, pack, unpack

COHORT_MESSAGE = "train.cohort"
"""Type of the messages that carry a cohort."""

READY_MESSAGE = "query.ready"
"""Type of the messages that ask whether a worker can start working."""

_PARAMETERS, _PERSONAL, _JOB, _ARRAYS, _REPLY = "parameters", "personal", "job", "arrays", "reply"


@dataclass(frozen=True)
class Cohort:
    """A job, the clients that do it, and the import path ``module:function`` of what does it.

    ``seconds`` after the message was made, nobody waits for the reply any more. ``threads`` is how many torch threads
    each client uses. ``state_key`` is for nodes that keep their clients' state themselves: what they file this
    experiment's under (None: where the job says).
    """

    job: Job
    clients: tuple[int, ...]
    performer: str
    seconds: float
    threads: int = 1
    state_key: str | None = None


@dataclass(frozen=True)
class Seat:
    """A node's place in its federation: ``partition``, from 0, of ``partitions``; None where it was told none."""

    partition: int | None
    partitions: int | None


NO_SEAT = Seat(None, None)


def payload_bytes(arrays: Arrays) -> int:
    """Bytes of the array elements, without names and headers."""
    return sum(array.nbytes for array in arrays.values())


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
            "probe": job.probe,
            "state_dir": job.state_dir or "",
            "performer": cohort.performer,
            "seconds": cohort.seconds,
            "threads": cohort.threads,
            "state_key": cohort.state_key or "",
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
        probe=header["probe"],
        state_dir=header["state_dir"] or None,
        accepted={client: round for client, round in zip(clients, header["accepted"], strict=True) if round > 0},
        wants=frozenset(header["wants"]),
    )
    key = header["state_key"] or None
    return Cohort(job, clients, header["performer"], header["seconds"], header["threads"], key)


def encode_outcomes(outcomes: Sequence[Outcome]) -> RecordDict:
    """The content of a reply. An outcome that cannot be serialised is replaced by its own error."""
    metrics: list[str] = []
    sendable: list[Outcome] = []
    for outcome in outcomes:
        try:
            _check_arrays(outcome.arrays)
            metrics.append(json.dumps(dict(outcome.metrics), default=_plain_number))
            sendable.append(outcome)
        except (TypeError, ValueError) as error:
            metrics.append("{}")
            sendable.append(Outcome(outcome.client, error=f"{type(error).__name__}: {error}"))
    arrays, layout = pack([outcome.arrays for outcome in sendable])
    header = ConfigRecord(
        {
            "clients": [outcome.client for outcome in sendable],
            "failed": [not outcome.ok for outcome in sendable],
            "errors": [outcome.error or "" for outcome in sendable],
            "metrics": metrics,
            "layout": layout,
        }
    )
    return RecordDict({_ARRAYS: _numbered(arrays), _REPLY: header})


def decode_reply(reply: Message, clients: Sequence[int]) -> list[Outcome]:
    """The outcomes of a cohort, in the order of ``clients``.

    Never raises: a reply that carries an error, or that is malformed, becomes an error of each of the clients.
    """
    if reply.has_error():
        return failures(clients, reply.error.reason or f"Flower error code {reply.error.code}")
    try:
        return _decode_outcomes(reply.content, clients)
    except Exception as error:  # whatever a foreign or damaged reply provokes must cost its own clients only
        return failures(clients, f"malformed reply: {type(error).__name__}: {error}")


def decode_unaddressed_reply(reply: Message) -> list[Outcome]:
    """The outcomes of a reply whose request is not at hand; none when it carries an error or is malformed."""
    if reply.has_error():
        return []
    try:
        header: Any = reply.content.config_records[_REPLY]
        return _decode_outcomes(reply.content, list(header["clients"]))
    except Exception:  # as in decode_reply; who was meant cannot be known, so the clients count as silent
        return []


def encode_metrics(metrics: Mapping[str, float | int | None]) -> MetricRecord:
    """Numbers for Flower's own logs; missing ones are left out."""
    return MetricRecord({name: value for name, value in metrics.items() if value is not None})


def failures(clients: Iterable[int], reason: str) -> list[Outcome]:
    """One failed outcome per client, all for the same reason."""
    return [Outcome(client, error=reason) for client in clients]


def encode_ready(performer: str) -> RecordDict:
    """The content of a message that asks a worker to load ``performer``."""
    return RecordDict({_JOB: ConfigRecord({"performer": performer})})


def decode_ready(content: RecordDict) -> str:
    """The performer a worker is asked to load."""
    return str(content.config_records[_JOB]["performer"])


def encode_ready_reply(error: str | None, seat: Seat = NO_SEAT) -> RecordDict:
    """A worker's answer: None when it is ready, else the reason why not; and where in its federation it sits."""
    header = ConfigRecord({"failed": error is not None, "error": error or ""})
    for name, value in (("partition", seat.partition), ("partitions", seat.partitions)):
        if value is not None:
            header[name] = value
    return RecordDict({_REPLY: header})


def decode_ready_reply(reply: Message) -> str | None:
    """Why the worker that sent ``reply`` cannot work; None when it can."""
    if reply.has_error():
        return reply.error.reason or f"Flower error code {reply.error.code}"
    header = reply.content.config_records[_REPLY]
    return str(header["error"]) if header["failed"] else None


def decode_seat(reply: Message) -> Seat:
    """Where the node that sent ``reply``, which carries no error, sits in its federation."""
    header: Any = reply.content.config_records[_REPLY]
    return Seat(header.get("partition"), header.get("partitions"))


def _decode_outcomes(content: RecordDict, clients: Sequence[int]) -> list[Outcome]:
    header: Any = content.config_records[_REPLY]
    if list(header["clients"]) != list(clients):
        raise ValueError(f"answers for clients {list(header['clients'])}, asked for {list(clients)}")
    arrays = unpack(_in_order(content.array_records[_ARRAYS]), header["layout"], len(clients))
    return [
        Outcome(client, own, json.loads(metrics), error if failed else None)
        for client, own, metrics, failed, error in zip(
            clients, arrays, header["metrics"], header["failed"], header["errors"], strict=True
        )
    ]


def _numbered(arrays: Sequence[NDArray]) -> ArrayRecord:
    return ArrayRecord({str(key): Array(array) for key, array in enumerate(arrays)})


def _in_order(record: ArrayRecord) -> list[NDArray]:
    return [record[str(key)].numpy() for key in range(len(record))]


def _check_arrays(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"array {name!r} must be a NumPy array, got {type(array).__name__}")
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} must have a numeric dtype, got {array.dtype}")


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"metrics must be numbers or text, got {type(value).__name__}")
