"""Reports: what is accepted, what drops a client, and in which order they are stacked."""

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fedkd.core.array_specs import ArraySpec
from fedkd.core.codecs.float32 import Float32
from fedkd.core.messages import Arrays, Reply, Traffic, traffic_of
from fedkd.server.reports import Expectation, collect_reports, stack_reports

CODEC = Float32()
SPECS = {"logits": ArraySpec("uint8", (CODEC.most_bytes(4, 2),), shorter=True)}
EXPECTED = Expectation(
    round=3,
    clients=(0, 2, 5),
    classes=2,
    public_digest="abc",
    most_examples=lambda client: 9,
    arrays=lambda client, examples: SPECS,
    decode=lambda client, message: CODEC.decode(message, samples=4, classes=2),
)


def message(value: float = 1.0, samples: int = 4, mask: torch.Tensor | None = None) -> npt.NDArray[np.uint8]:
    return np.frombuffer(CODEC.encode(torch.full((samples, 2), value), mask).data, dtype=np.uint8)


def unchecked(value: float) -> npt.NDArray[np.uint8]:
    """A message of equal floats that no codec would write: how, then their first bytes, their second, and so on."""
    octets = (bytes([octet]) * 4 * 2 for octet in struct.pack(">f", value))
    return np.frombuffer(bytes([0]) + b"".join(octets), dtype=np.uint8)


def good(client: int, value: float = 1.0) -> Reply:
    return Reply(client, {"logits": message(value)}, round=3, examples=7, public_digest="abc")


def test_reports_are_sorted_by_client_whatever_order_they_arrive_in() -> None:
    found = collect_reports([good(5, 5.0), good(0, 0.0), good(2, 2.0)], EXPECTED)
    reports, failures = found.reports, found.failures
    assert [report.client for report in reports] == [0, 2, 5]
    assert not failures
    # Four samples of two classes at four bytes each, and a byte that says how they are written.
    assert [report.sent for report in reports] == [Traffic(logits=33)] * 3
    stack = stack_reports(reports, torch.tensor([0, 1, -1, -1]), round=3)
    assert stack.logits[:, 0, 0].tolist() == [0.0, 2.0, 5.0]
    assert stack.examples.tolist() == [7, 7, 7]
    assert (stack.mask, stack.label_counts) == (None, None)


def test_who_abstains_somewhere_is_stacked_beside_who_does_not() -> None:
    mask = torch.tensor([True, False, True, False])
    silent = replace(good(2), arrays={"logits": message(2.0, mask=mask)})
    reports = collect_reports([good(0), silent], EXPECTED).reports
    stack = stack_reports(reports, torch.full((4,), -1), round=3)
    assert stack.mask is not None
    assert stack.mask.tolist() == [[True] * 4, mask.tolist()]
    assert stack.logits[1, :, 0].tolist() == [2.0, 0.0, 2.0, 0.0]


def test_the_damaged_messages_of_these_tests_are_damaged_in_their_numbers_alone() -> None:
    assert unchecked(1.0).tolist() == message(1.0).tolist()


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nan": ({"logits": unchecked(np.nan)}, {}, "not finite"),
    "infinity": ({"logits": unchecked(np.inf)}, {}, "not finite"),
    "huge": ({"logits": message(1e30)}, {}, "within"),
    "cut off": ({"logits": message()[:-1]}, {}, "cannot decode a message of 32 bytes"),
    "too few samples": ({"logits": message(samples=3)}, {}, "cannot decode"),
    "too many samples": ({"logits": message(samples=5)}, {}, "logits must be uint8 of shape (≤ 34,), got uint8 of sha"),
    "empty": ({"logits": np.zeros(0, np.uint8)}, {}, "cannot decode"),
    "numbers": ({"logits": np.zeros((4, 2), np.float32)}, {}, "must be uint8 of shape (≤ 34,), got float32 of"),
    "text": ({"logits": np.zeros(4, "U3")}, {}, "'logits' must hold numbers of at most 64 bits"),
    "no logits": ({}, {}, "no logits"),
    "something else": ({"logits": message(), "note": np.zeros(2)}, {}, "'note', 16 bytes that nobody asked for"),
    "old round": (None, {"round": 2}, "round 2, not 3"),
    "other public set": (None, {"public_digest": "x"}, "another public set"),
    "negative count": (None, {"examples": -1}, "example count"),
    "fractional count": (None, {"examples": 1.5}, "example count"),
    "a count of more than there are": (None, {"examples": 10}, "from 0 to 9, got 10"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_report_drops_its_client_with_a_reason(case: str) -> None:
    arrays, facts, part = BAD[case]
    bad = good(2)
    vars(bad).update({} if arrays is None else {"arrays": arrays}, **facts)
    found = collect_reports([good(0), bad, good(5)], EXPECTED)
    reports, failures = found.reports, found.failures
    assert [report.client for report in reports] == [0, 5]
    assert [failure.client for failure in failures] == [2]
    assert part in failures[0].reason


def test_duplicates_strangers_errors_and_silence_are_failures() -> None:
    found = collect_reports([good(0), good(0), good(9), Reply(2, error="ValueError: boom")], EXPECTED)
    reports, failures = found.reports, found.failures
    assert not reports
    assert {failure.client: failure.reason for failure in failures} == {
        0: "sent 2 reports for one round",
        2: "ValueError: boom",
        5: "sent nothing",
        9: "answered without having been asked",
    }


def test_label_counts_are_stacked() -> None:
    given = replace(good(0), arrays={**good(0).arrays, "label_counts": np.array([3, 4], np.int32)})
    specs = {**SPECS, "label_counts": ArraySpec("int32", (2,), 0, 7, total=7)}
    found = collect_reports([given], replace(EXPECTED, arrays=lambda client, examples: specs))
    stack = stack_reports(found.reports, torch.full((4,), -1), round=3)
    assert stack.label_counts is not None
    assert stack.label_counts.tolist() == [[3, 4]]


def test_without_logits_the_rules_own_check_decides() -> None:
    arrays = {"parameters/0/w": np.zeros(3, np.float32)}
    replies = [replace(good(client), arrays=arrays) for client in (0, 2)]
    specs = {name: ArraySpec("float32", array.shape) for name, array in arrays.items()}
    expected = replace(
        EXPECTED,
        clients=(0, 2),
        arrays=lambda client, examples: specs,
        decode=None,
        fault=lambda report: "no" if report.client else None,
    )
    found = collect_reports(replies, expected)
    reports, failures = found.reports, found.failures
    assert [(report.client, report.logits.shape, report.sent) for report in reports] == [
        (0, (0, 2), Traffic(parameters=12))
    ]
    assert [(failure.client, failure.reason) for failure in failures] == [(2, "no")]


def test_bytes_are_counted_by_what_they_are_for() -> None:
    arrays: Arrays = {
        "logits": np.zeros(5, np.uint8),
        "consensus": np.zeros(7, np.uint8),
        "parameters/0/w": np.zeros((2, 3), np.float32),
        "label_means/values": np.zeros(4, np.float64),
    }
    assert traffic_of(arrays) == Traffic(logits=12, parameters=24, other=32)
    assert traffic_of(arrays).total == 68
