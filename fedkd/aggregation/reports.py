"""Validation of what clients send, and the stack that an aggregator gets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.records import Failure
from fedkd.types import ClientReport, Outcome, ReportStack

LOGIT_BOUND = 1e4
"""Largest absolute logit a report may hold; softmax saturates three orders of magnitude earlier."""


@dataclass(frozen=True)
class Expectation:
    """What a valid report of this round looks like."""

    round: int
    clients: tuple[int, ...]
    samples: int
    classes: int
    public_digest: str


def collect_reports(outcomes: Iterable[Outcome], expected: Expectation) -> tuple[list[ClientReport], list[Failure]]:
    """The valid reports sorted by client id, and one failure with its reason for every other expected client.

    A client that answers twice is dropped; an answer from a client that was not asked is a failure too.
    """
    answers: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        answers.setdefault(outcome.client, []).append(outcome)
    reports, failures = [], []
    for client in sorted(set(answers) | set(expected.clients)):
        given = answers.get(client, [])
        reason = _fault(client, given, expected)
        if reason is None:
            reports.append(_report(given[0], expected))
        else:
            failures.append(Failure(client, reason))
    return reports, failures


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
    mask = None
    if any(report.mask is not None for report in reports):
        everywhere = torch.ones(labels.shape[0], dtype=torch.bool)
        mask = torch.stack([everywhere if report.mask is None else report.mask for report in reports])
    return ReportStack(
        logits=torch.stack([report.logits for report in reports]),
        examples=torch.tensor([report.examples for report in reports]),
        labels=labels,
        clients=tuple(report.client for report in reports),
        round=round,
        mask=mask,
        generator=generator,
    )


def _fault(client: int, given: Sequence[Outcome], expected: Expectation) -> str | None:
    if client not in expected.clients:
        return "answered without having been asked"
    if not given:
        return "sent nothing"
    if len(given) > 1:
        return f"sent {len(given)} reports for one round"
    outcome = given[0]
    if outcome.error is not None:
        return outcome.error
    if (round_sent := outcome.metrics.get("round")) != expected.round:
        return f"answered for round {round_sent}, not {expected.round}"
    if outcome.metrics.get("public_digest") != expected.public_digest:
        return "answered on another public set"
    examples = outcome.metrics.get("examples")
    if not isinstance(examples, int) or examples < 0:
        return f"example count must be a whole number ≥ 0, got {examples!r}"
    return _array_fault(outcome, expected)


def _array_fault(outcome: Outcome, expected: Expectation) -> str | None:
    logits = outcome.arrays.get("logits")
    shape = (expected.samples, expected.classes)
    if logits is None:
        return "sent no logits"
    if logits.shape != shape:
        return f"logits must have shape {shape}, got {logits.shape}"
    if not np.issubdtype(logits.dtype, np.floating):
        return f"logits must be floating point, got {logits.dtype}"
    if not np.isfinite(logits).all():
        return "logits must be finite, got NaN or infinity"
    if (largest := float(np.abs(logits).max(initial=0.0))) > LOGIT_BOUND:
        return f"logits must lie within ±{LOGIT_BOUND:g}, got {largest:g}"
    mask = outcome.arrays.get("mask")
    if mask is not None and (mask.shape != shape[:1] or mask.dtype != np.bool_):
        return f"mask must be {expected.samples} booleans, got {mask.dtype} of shape {mask.shape}"
    return None


def _report(outcome: Outcome, expected: Expectation) -> ClientReport:
    logits = outcome.arrays["logits"]
    mask = outcome.arrays.get("mask")
    size = logits.nbytes + (0 if mask is None else mask.nbytes)
    return ClientReport(
        client=outcome.client,
        round=expected.round,
        logits=torch.from_numpy(logits.astype(np.float32, copy=not logits.flags.writeable)),
        examples=int(outcome.metrics["examples"]),
        bytes_up=size,
        mask=None if mask is None else torch.from_numpy(mask.copy()),
    )
