"""Reading what clients send, and the stack that an aggregator gets of it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

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
    Arrays,
    ClientReport,
    Measurement,
    Reply,
    traffic_of,
)
from fedkd.core.texts import shown, shown_value
from fedkd.results.records import Failure


@dataclass(frozen=True)
class Expectation:
    """What a valid report of this round looks like.

    ``most_examples`` is how many private samples a client may claim, ``arrays`` what the arrays of a client that claims
    so many have to be, ``measured`` those of a measurement. ``decode`` turns its message into logits for the samples it
    was asked about, and raises ``ValueError`` when it cannot; None when the algorithm exchanges no logits. ``counted``
    is False where clients do not tell how many samples they have; each then counts as one. ``fault`` says what else is
    wrong with a report. ``tests`` is the number of test samples on which clients may have measured their logits
    besides; ``keeps_codes`` is False where nobody needs the codes.
    """

    round: int
    clients: tuple[int, ...]
    classes: int
    public_digest: str
    most_examples: Callable[[int], int]
    arrays: Callable[[int, int], Mapping[str, ArraySpec]]
    decode: Callable[[int, bytes], Decoded] | None = None
    measured: Callable[[int], Mapping[str, ArraySpec]] = lambda client: {}
    counted: bool = True
    fault: Callable[[ClientReport], str | None] = lambda report: None
    tests: int = 0
    keeps_codes: bool = True


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

    Here everything that a client sends is read, once: what comes out has the types it says, whatever went in, and a
    reason is short and fit to be shown. A client that answers twice is dropped; an answer from a client that was not
    asked is a failure too. Replies are read as they come and then let go; the logits of all reports lie in one block
    (``fedkd.aggregation.report_buffer``).
    """
    asked = frozenset(expected.clients)
    shelf = ReportBuffer(sorted(asked), expected.tests)
    answers: Counter[int] = Counter()
    read: dict[int, ClientReport | Failure] = {}
    measured: dict[int, Measurement] = {}
    nameless = 0
    for reply in replies:
        if not names_client(reply):
            nameless += 1
            continue
        client = reply.client
        answers[client] += 1
        if client in asked and answers[client] == 1:
            try:
                read[client], measured[client] = _read(reply, expected, shelf)
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
    reports = [report for report in found if isinstance(report, ClientReport)]
    measured = {report.client: measured[report.client] for report in reports}
    tests = {client: own.test_logits for client, own in measured.items() if own.test_logits is not None}
    reports, tests = shelf.compact(reports, tests)
    measured |= {client: replace(measured[client], test_logits=logits) for client, logits in tests.items()}
    return Collected(reports, tuple(each for each in found if isinstance(each, Failure)), measured)


def names_client(reply: object) -> bool:
    """Whether it is a reply, of somebody who could be a client."""
    return type(reply) is Reply and type(reply.client) is int and 0 <= reply.client < 2**63


def read_message(reply: Reply, most_bytes: int | None) -> Arrays:
    """The arrays of a reply that a protocol reads further; raises ``ValueError`` for the reason why there are none."""
    _require_success(reply)
    arrays = plain_arrays(reply.arrays)
    if most_bytes is not None and (size := sum(array.nbytes for array in arrays.values())) > most_bytes:
        raise ValueError(f"sent {size} bytes, at most {most_bytes} were asked for")
    return arrays


def read_measurement(reply: Reply, specs: Mapping[str, ArraySpec]) -> Measurement:
    """What a client measured, with arrays that are what ``specs`` say; raises ``ValueError`` for anything else."""
    _require_success(reply)
    if (found := reply.measured) is None:
        return Measurement()
    if type(found) is not Measurement:
        raise ValueError(f"measured must be a measurement, got {type(found).__name__}")
    for name, share in (("validation_accuracy", found.validation_accuracy), ("test_accuracy", found.test_accuracy)):
        if share is not None and not (type(share) is float and 0.0 <= share <= 1.0):
            raise ValueError(f"{name} must be a number from 0 to 1, got {shown_value(share)}")
    arrays = read_arrays(found.arrays, specs)
    logits, mask, features = (arrays.get(name) for name in ("test_logits", "test_mask", "test_features"))
    return replace(found, test_logits=logits, test_mask=mask, test_features=features)


def _require_success(reply: Reply) -> None:
    if reply.error is not None:
        raise ValueError(reply.error if type(reply.error) is str and reply.error else "failed without a reason in text")


def stack_reports(
    reports: Sequence[ClientReport],
    labels: Int[Tensor, " samples"],
    *,
    round: int,
    generator: torch.Generator | None = None,
    noise: np.random.Generator | None = None,
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
        noise=noise,
        label_counts=counts,
    )


def _read(reply: Reply, expected: Expectation, shelf: ReportBuffer) -> tuple[ClientReport, Measurement]:
    """The report in a reply, and what its client measured; raises ``ValueError`` with the reason why there is none."""
    _require_success(reply)
    if type(reply.round) is not int or reply.round != expected.round:
        raise ValueError(f"answered for round {shown_value(reply.round)}, not {expected.round}")
    if type(reply.public_digest) is not str or reply.public_digest != expected.public_digest:
        raise ValueError("answered on another public set")
    examples = _examples(reply, expected.most_examples(reply.client)) if expected.counted else 1
    arrays = read_arrays(reply.arrays, expected.arrays(reply.client, examples))
    measured = read_measurement(reply, expected.measured(reply.client))
    traffic = traffic_of(arrays)
    logits, mask, codes = torch.zeros(0, expected.classes), None, None
    if expected.decode is not None:
        decoded = _decoded(expected.decode, reply.client, arrays.pop(LOGITS).tobytes())
        logits, tests = shelf.put(reply.client, decoded.logits, measured.test_logits)
        measured = replace(measured, test_logits=tests)
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
    )
    if (reason := expected.fault(report)) is not None:
        raise ValueError(reason)
    return report, measured


def _examples(reply: Reply, most: int) -> int:
    if type(reply.examples) is not int or not 0 <= reply.examples <= most:
        raise ValueError(f"example count must be a whole number from 0 to {most}, got {shown_value(reply.examples)}")
    return reply.examples


def _decoded(decode: Callable[[int, bytes], Decoded], client: int, message: bytes) -> Decoded:
    try:
        decoded = decode(client, message)
    except ValueError as error:
        raise ValueError(f"logits: {error}") from error
    if (largest := float(decoded.logits.abs().max()) if decoded.logits.numel() else 0.0) > LOGIT_BOUND:
        raise ValueError(f"logits must lie within ±{LOGIT_BOUND:g}, got {largest:g}")
    return decoded
