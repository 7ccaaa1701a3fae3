"""The quickstart's processor time beside that of another checkout."""

import json

import pytest

from tests.support import ROOT
from tests.support.scripts_run import run_script


def test_the_quickstart_benchmark_compares_two_checkouts() -> None:
    small = ("rounds=1", "clients.epochs=1", "distillation.steps=2", "controls=[public_only]")
    found = json.loads(
        run_script("scripts/benchmark.py", "quickstart", "--before", str(ROOT), "--repeats", "1", "--json", *small)
    )
    assert found["same_result"] == 1.0
    assert found["cpu_ratio"] == pytest.approx(found["cpu_seconds"] / found["cpu_seconds_before"], abs=1e-3)
