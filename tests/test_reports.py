"""Reports: what is accepted, what drops a client, and in which order they are stacked."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fedkd.aggregation import Expectation, collect_reports, stack_reports
from fedkd.types import Outcome

EXPECTED = Expectation(round=3, clients=(0, 2, 5), samples=4, classes=2, public_digest="abc")


def good(client: int, value: float = 1.0) -> Outcome:
    logits = np.full((4, 2), value, dtype=np.float32)
    return Outcome(client, {"logits": logits}, {"round": 3, "examples": 7, "public_digest": "abc"})


def test_reports_are_sorted_by_client_whatever_order_they_arrive_in() -> None:
    reports, failures = collect_reports([good(5, 5.0), good(0, 0.0), good(2, 2.0)], EXPECTED)
    assert [report.client for report in reports] == [0, 2, 5]
    assert not failures
    assert [report.bytes_up for report in reports] == [32, 32, 32]
    stack = stack_reports(reports, torch.tensor([0, 1, -1, -1]), round=3)
    assert stack.logits[:, 0, 0].tolist() == [0.0, 2.0, 5.0]
    assert stack.examples.tolist() == [7, 7, 7]


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "nan": ({"logits": np.full((4, 2), np.nan, np.float32)}, {}, "finite"),
    "infinity": ({"logits": np.full((4, 2), np.inf, np.float32)}, {}, "finite"),
    "huge": ({"logits": np.full((4, 2), 1e30, np.float32)}, {}, "within"),
    "shape": ({"logits": np.zeros((4, 3), np.float32)}, {}, "shape"),
    "whole numbers": ({"logits": np.zeros((4, 2), np.int64)}, {}, "floating point"),
    "text": ({"logits": np.zeros((4, 2), "U3")}, {}, "floating point"),
    "no logits": ({}, {}, "no logits"),
    "mask": ({"logits": np.zeros((4, 2), np.float32), "mask": np.ones(3, bool)}, {}, "mask"),
    "old round": (None, {"round": 2}, "round 2, not 3"),
    "other public set": (None, {"public_digest": "x"}, "another public set"),
    "negative count": (None, {"examples": -1}, "example count"),
    "fractional count": (None, {"examples": 1.5}, "example count"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_report_drops_its_client_with_a_reason(case: str) -> None:
    arrays, metrics, part = BAD[case]
    base = good(2)
    bad = replace(
        base,
        arrays=base.arrays if arrays is None else arrays,
        metrics={**base.metrics, **metrics},
    )
    reports, failures = collect_reports([good(0), bad, good(5)], EXPECTED)
    assert [report.client for report in reports] == [0, 5]
    assert [failure.client for failure in failures] == [2]
    assert part in failures[0].reason


def test_duplicates_strangers_errors_and_silence_are_failures() -> None:
    reports, failures = collect_reports([good(0), good(0), good(9), Outcome(2, error="ValueError: boom")], EXPECTED)
    assert not reports
    assert {failure.client: failure.reason for failure in failures} == {
        0: "sent 2 reports for one round",
        2: "ValueError: boom",
        5: "sent nothing",
        9: "answered without having been asked",
    }
