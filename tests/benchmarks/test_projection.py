"""The projection to very many clients, and the scripts that measure for it."""

import json
import subprocess
import sys
from typing import Any

import pytest
from benchmarks.projection import Costs, line, span, tables, written

from tests.support import ROOT

MEASURED: dict[str, Any] = {
    "setup_seconds": {"100": 2.01, "1000": 2.1, "10000": 3.0},
    "client": {"seconds": 0.5, "bytes_up": 80_000.0, "bytes_down": 400_000.0, "record_bytes": 60.0},
    "driver": {
        "100": {"driver_cpu_seconds": 1.2, "before_gb": 1.0, "peak_gb": 1.1},
        "1000": {"driver_cpu_seconds": 3.0, "before_gb": 1.0, "peak_gb": 1.1},
    },
    "queries": 2000,
    "classes": 10,
    "cores": 2,
    "machine": "a test",
    "versions": {"torch": "2"},
}


def test_costs_are_the_lines_through_what_was_measured() -> None:
    costs = Costs.of(MEASURED)
    assert costs.setup == pytest.approx((2.0, 1e-4))
    assert costs.driver == pytest.approx((1.0, 2e-3))
    assert costs.memory == pytest.approx((0.1, 0.0), abs=1e-12)
    assert costs.logits == 80_000
    # 0.5 s of work a client, 2 ms of the driver.
    assert costs.useful_cores == pytest.approx(250)
    # 1 s + 2 ms · 10,000 + 0.5 s · 10,000 / 100.
    assert costs.seconds(10_000, 100) == pytest.approx(1 + 20 + 50)


def test_a_line_goes_through_nothing_below_zero() -> None:
    assert line({"10": 1.0, "20": 2.0}) == pytest.approx((0.0, 0.1))
    assert line({"10": 0.5, "20": 2.0})[0] == 0.0
    assert line({"10": 2.0, "20": 1.0})[1] == 0.0
    assert line({"10": 1.0})[1] >= 0.0


def test_the_projection_names_every_number_of_clients() -> None:
    text = tables(MEASURED, 1_000_000, [0.01, 1.0], [100])
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("|")}
    # 71 s and 7,001 s.
    assert "| 71.0 s | 0.8 GB |" in rows["10,000"]
    assert "| 117 min |" in rows["1,000,000"].replace("116.7", "117")
    assert "80.0 GB" in rows["1,000,000"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.25, "1.2 s"), (119, "119.0 s"), (120, "2.0 min"), (7200, "2.0 h"), (200_000, "2.3 d")]
)
def test_times_are_in_units_of_which_there_are_two(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_only_a_marked_document_is_written_to() -> None:
    with pytest.raises(ValueError, match="must hold the lines"):
        written("no marks", "table")


def test_the_document_says_what_the_measurements_say() -> None:
    document = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    measured = json.loads((ROOT / "docs/results/scaling.json").read_text(encoding="utf-8"))
    expected = tables(measured, 1_000_000, [0.001, 0.01, 0.1, 1], [2, 8, 32])
    assert written(document, expected) == document


def test_the_driver_is_measured() -> None:
    command = [
        sys.executable,
        str(ROOT / "scripts/benchmark.py"),
        "driver_memory",
        "--engine",
        "inline",
        "--json",
        "--probe",
    ]
    small = ["--dataset", "digits", "--clients", "8", "--samples", "60", "--strategies", "mean_probabilities"]
    done = subprocess.run([*command, *small], stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["failures"] == 0
    assert 0 < found["before_gb"] <= found["peak_gb"] < 4
