"""Validation of what clients send, and the stack that an aggregator gets."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.aggregation.report_buffer import ReportBuffer, stack_views
from fedkd.aggregation.types import ReportStack
from fedkd.core.coding.types import Decoded
from fedkd.core.messages import (
    LABEL_COUNTS,
    LOGIT_BOUND,
    LOGITS,
    Arrays,
    ClientReport,
    Measurement,
    Reply,
    traffic_of,
)
from fedkd.results.records import Failure


@dataclass(frozen=True)
class Expectation:
    """What a valid report of this round looks like.

    ``decode`` turns a client's message into logits for the samples it was asked about, and raises ``ValueError`` when
    it cannot; None when the algorithm exchanges no logits. ``wants`` are the arrays that the job asks for besides.
    ``counted`` is False where clients do not tell how many samples they have; each then counts as one. ``fault`` says
    what else is wrong with a report. ``tests`` is the number of test samples on which clients may have measured their
    logits besides; ``keeps_codes`` is False where nobody needs the codes.
    """

    round: int
    clients: tuple[int, ...]
    classes: int
    public_digest: str
    decode: Callable[[int, bytes], Decoded] | None = None
    wants: frozenset[str] = frozenset()
    counted: bool = True
    fault: Callable[[ClientReport], str | None] = lambda report: None
    tests: int = 0
    keeps_codes: bool = True


class _MalformedError(ValueError):
    """Why a report cannot be used."""


@dataclass(frozen=True)
class Collected:
    """The valid reports sorted by client id, and one failure with its reason for every other client.

    ``measured`` is what clients with valid reports measured for the simulator's user.
    """

    reports: list[ClientReport]
    failures: tuple[Failure, ...]
    measured: dict[int, Measurement]


def collect_reports(replies: Iterable[Reply], expected: Expectation) -> Collected:
    """What a round's replies come to.

    A client that answers twice is dropped; an answer from a client that was not asked is a failure too. Replies are
    read as they come and then let go; the logits of all reports lie in one block (``fedkd.aggregation.report_buffer``).
    """
    asked = frozenset(expected.clients)
    shelf = ReportBuffer(sorted(asked), expected.tests)
    answers: Counter[int] = Counter()
    read: dict[int, ClientReport | Failure] = {}
    measured: dict[int, Measurement] = {}
    for reply in replies:
        client = reply.client
        answers[client] += 1
        if client in asked and answers[client] == 1:
            try:
                read[client], measured[client] = _read(reply, expected, shelf)
            except _MalformedError as reason:
                read[client] = Failure(client, str(reason))
    for client in asked | set(answers):
        if client not in asked:
            read[client] = Failure(client, "answered without having been asked")
        elif answers[client] != 1:
            count = answers[client]
            read[client] = Failure(client, f"sent {count} reports for one round" if count else "sent nothing")
    found = [read[client] for client in sorted(read)]
    reports = [report for report in found if isinstance(report, ClientReport)]
    measured = {report.client: measured[report.client] for report in reports}
    tests = {client: own.test_logits for client, own in measured.items() if own.test_logits is not None}
    reports, tests = shelf.compact(reports, tests)
    measured |= {client: replace(measured[client], test_logits=logits) for client, logits in tests.items()}
    return Collected(reports, tuple(each for each in found if isinstance(each, Failure)), measured)


def stack_reports(
    reports: Sequence[ClientReport],
    labels: Int[Tensor, " samples"],
    *,
    round: int,
    generator: torch.Generator | None = None,
) -> ReportStack:
    """The reports as one stack; they must be valid, sorted by client id, and at least one."""
    if not reports:
        raise ValueError("reports must hold at least one report")
    mask = counts = None
    if any(report.mask is not None for report in reports):
        everywhere = torch.ones(labels.shape[0], dtype=torch.bool)
        mask = torch.stack([everywhere if report.mask is None else report.mask for report in reports])
    if all(LABEL_COUNTS in report.arrays for report in reports):
        counts = torch.stack([torch.from_numpy(report.arrays[LABEL_COUNTS].astype(np.int64)) for report in reports])
    return ReportStack(
        logits=stack_views([report.logits for report in reports]),
        examples=torch.tensor([report.examples for report in reports]),
        labels=labels,
        clients=tuple(report.client for report in reports),
        round=round,
        mask=mask,
        generator=generator,
        label_counts=counts,
    )


def _read(reply: Reply, expected: Expectation, shelf: ReportBuffer) -> tuple[ClientReport, Measurement]:
    if reply.error is not None:
        raise _MalformedError(reply.error)
    if reply.round != expected.round:
        raise _MalformedError(f"answered for round {reply.round}, not {expected.round}")
    if reply.public_digest != expected.public_digest:
        raise _MalformedError("answered on another public set")
    examples = reply.examples if expected.counted else 1
    if not isinstance(examples, int) or examples < 0:
        raise _MalformedError(f"example count must be a whole number ≥ 0, got {examples!r}")
    decoded = _decoded(reply, expected)
    arrays, measured = _others(reply.arrays, expected), reply.measured or Measurement()
    logits, mask, codes = torch.zeros(0, expected.classes), None, None
    if decoded is not None:
        logits, tests = shelf.put(reply.client, decoded.logits, measured.test_logits)
        measured = replace(measured, test_logits=tests)
        mask, codes = decoded.mask, decoded.codes if expected.keeps_codes else None
    report = ClientReport(
        client=reply.client,
        round=expected.round,
        logits=logits,
        examples=examples,
        sent=traffic_of(reply.arrays),
        mask=mask,
        arrays=arrays,
        codes=codes,
    )
    if (reason := expected.fault(report)) is not None:
        raise _MalformedError(reason)
    return report, measured


def _decoded(reply: Reply, expected: Expectation) -> Decoded | None:
    if expected.decode is None:
        return None
    message = reply.arrays.get(LOGITS)
    if message is None:
        raise _MalformedError("sent no logits")
    if message.dtype != np.uint8 or message.ndim != 1:
        raise _MalformedError(f"logits must be a message of bytes, got {message.dtype} of shape {message.shape}")
    try:
        decoded = expected.decode(reply.client, message.tobytes())
    except ValueError as error:
        raise _MalformedError(f"logits: {error}") from error
    if (largest := float(decoded.logits.abs().max()) if decoded.logits.numel() else 0.0) > LOGIT_BOUND:
        raise _MalformedError(f"logits must lie within ±{LOGIT_BOUND:g}, got {largest:g}")
    return decoded


def _others(arrays: Arrays, expected: Expectation) -> Arrays:
    """What a client sent besides logits."""
    others = {name: array for name, array in arrays.items() if name != LOGITS}
    for name, array in others.items():
        if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_):
            raise _MalformedError(f"{name} must be numbers, got {array.dtype}")
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            raise _MalformedError(f"{name} must be finite, got NaN or infinity")
    if LABEL_COUNTS in expected.wants:
        counts = others.get(LABEL_COUNTS)
        if counts is None or counts.shape != (expected.classes,) or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise _MalformedError(f"{LABEL_COUNTS} must be {expected.classes} counts ≥ 0, the teacher needs them")
    return others
