"""Reading what clients send, and the stack that an aggregator gets of it."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.aggregation.report_buffer import ReportBuffer, stack_views
from fedkd.aggregation.types import ReportStack
from fedkd.core.array_specs import ArraySpec, plain_arrays, read_arrays
from fedkd.core.coding.types import Decoded
from fedkd.core.messages import (
    LABEL_COUNTS,
    LOGIT_BOUND,
    LOGITS,
    TEST_LOGITS,
    Arrays,
    ClientReport,
    Reply,
    traffic_of,
)
from fedkd.core.texts import shown, shown_value
from fedkd.results.records import Failure


@dataclass(frozen=True)
class Expectation:
    """What a valid report of this round looks like.

    ``most_examples`` is how many private samples a client may claim, ``arrays`` what the arrays of a client that claims
    so many have to be. ``decode`` turns its message into logits for the samples it was asked about, and raises
    ``ValueError`` when it cannot; None when the algorithm exchanges no logits. ``fault`` says what else is wrong with a
    report. ``tests`` is the number of test samples that were asked about besides; ``keeps_codes`` is False where nobody
    needs the codes.
    """

    round: int
    clients: tuple[int, ...]
    classes: int
    public_digest: str
    most_examples: Callable[[int], int]
    arrays: Callable[[int, int], Mapping[str, ArraySpec]]
    decode: Callable[[int, bytes], Decoded] | None = None
    fault: Callable[[ClientReport], str | None] = lambda report: None
    tests: int = 0
    keeps_codes: bool = True


def collect_reports(replies: Iterable[Reply], expected: Expectation) -> tuple[list[ClientReport], list[Failure]]:
    """The valid reports sorted by client id, and one failure with its reason for every other expected client.

    Here everything that a client sends is read, once: what comes out has the types it says, whatever went in, and a
    reason is short and fit to be shown. A client that answers twice is dropped; an answer from a client that was not
    asked is a failure too. Replies are read as they come and then let go; the logits of all reports lie in one block
    (``fedkd.aggregation.report_buffer``).
    """
    asked = frozenset(expected.clients)
    shelf = ReportBuffer(sorted(asked), expected.tests)
    answers: Counter[int] = Counter()
    read: dict[int, ClientReport | Failure] = {}
    nameless = 0
    for reply in replies:
        if not names_client(reply):
            nameless += 1
            continue
        client = reply.client
        answers[client] += 1
        if client in asked and answers[client] == 1:
            try:
                read[client] = _read(reply, expected, shelf)
            except ValueError as reason:
                read[client] = Failure(client, shown(str(reason)))
    silence = f"sent nothing, or one of the {nameless} answers without a sender" if nameless else "sent nothing"
    for client in asked | set(answers):
        if client not in asked:
            read[client] = Failure(client, "answered without having been asked")
        elif answers[client] != 1:
            count = answers[client]
            read[client] = Failure(client, f"sent {count} reports for one round" if count else silence)
    found = [read[client] for client in sorted(read)]
    reports = shelf.compact([report for report in found if isinstance(report, ClientReport)])
    return reports, [failure for failure in found if isinstance(failure, Failure)]


def names_client(reply: object) -> bool:
    """Whether it is a reply, of somebody who could be a client."""
    return type(reply) is Reply and type(reply.client) is int and 0 <= reply.client < 2**63


def read_message(reply: Reply, most_bytes: int | None) -> Arrays:
    """The arrays of a reply that a protocol reads further; raises ``ValueError`` for the reason why there are none."""
    read_metrics(reply, ())
    arrays = plain_arrays(reply.arrays)
    if most_bytes is not None and (size := sum(array.nbytes for array in arrays.values())) > most_bytes:
        raise ValueError(f"sent {size} bytes, at most {most_bytes} were asked for")
    return arrays


def read_share(reply: Reply, name: str) -> float | None:
    """A measured share among a reply's metrics, in [0, 1]; None where there is none, ``ValueError`` for others."""
    value = reply.metrics.get(name)
    if value is not None and not (type(value) is float and 0.0 <= value <= 1.0):
        raise ValueError(f"{name} must be a number from 0 to 1, got {shown_value(value)}")
    return value


def read_metrics(reply: Reply, names: Collection[str]) -> Mapping[str, object]:
    """A reply's metrics, which have no other names; raises ``ValueError`` for the reason why there are none."""
    if reply.error is not None:
        raise ValueError(reply.error if type(reply.error) is str and reply.error else "failed without a reason in text")
    if type(reply.metrics) is not dict:
        raise ValueError(f"metrics must be a dict of values by name, got {type(reply.metrics).__name__}")
    for name in reply.metrics:
        if name not in names:
            raise ValueError(f"metrics hold {shown_value(name)}, which nobody asked for")
    return reply.metrics


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


_METRICS = frozenset({"round", "examples", "public_digest", "validation_accuracy", "test_accuracy"})


def _read(reply: Reply, expected: Expectation, shelf: ReportBuffer) -> ClientReport:
    """The report in a reply; raises ``ValueError`` with the reason why there is none."""
    metrics = read_metrics(reply, _METRICS)
    if type(sent := metrics.get("round")) is not int or sent != expected.round:
        raise ValueError(f"answered for round {shown_value(sent)}, not {expected.round}")
    if type(digest := metrics.get("public_digest")) is not str or digest != expected.public_digest:
        raise ValueError("answered on another public set")
    most = expected.most_examples(reply.client)
    if type(examples := metrics.get("examples")) is not int or not 0 <= examples <= most:
        raise ValueError(f"example count must be a whole number from 0 to {most}, got {shown_value(examples)}")
    arrays = read_arrays(reply.arrays, expected.arrays(reply.client, examples))
    traffic = traffic_of(arrays)
    logits, mask, codes = torch.zeros(0, expected.classes), None, None
    if expected.decode is not None:
        decoded = _decoded(expected.decode, reply.client, arrays.pop(LOGITS).tobytes())
        logits, tests = shelf.put(reply.client, decoded.logits, arrays.get(TEST_LOGITS))
        arrays |= {} if tests is None else {TEST_LOGITS: tests}
        mask, codes = decoded.mask, decoded.codes if expected.keeps_codes else None
    report = ClientReport(
        client=reply.client,
        round=expected.round,
        logits=logits,
        examples=examples,
        sent=traffic,
        mask=mask,
        arrays=arrays,
        codes=codes,
        validation_accuracy=read_share(reply, "validation_accuracy"),
        test_accuracy=read_share(reply, "test_accuracy"),
    )
    if (reason := expected.fault(report)) is not None:
        raise ValueError(reason)
    return report


def _decoded(decode: Callable[[int, bytes], Decoded], client: int, message: bytes) -> Decoded:
    try:
        decoded = decode(client, message)
    except ValueError as error:
        raise ValueError(f"logits: {error}") from error
    if (largest := float(decoded.logits.abs().max()) if decoded.logits.numel() else 0.0) > LOGIT_BOUND:
        raise ValueError(f"logits must lie within ±{LOGIT_BOUND:g}, got {largest:g}")
    return decoded
