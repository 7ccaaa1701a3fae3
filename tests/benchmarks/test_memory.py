"""The memory of many clients, measured small."""

import json

import pytest

from tests.support.scripts_run import run_script


def test_the_memory_of_many_clients_is_measured_on_top_of_the_libraries() -> None:
    small = ("--clients", "4", "--rounds", "1", "--models", "cnn,mlp", "--samples", "10", "--dataset", "digits")
    found = json.loads(run_script("scripts/benchmark.py", "memory", *small, "--json"))
    assert found["failures"] == 0
    assert found["peak_gb"] == pytest.approx(found["libraries_gb"] + found["on_top_of_libraries_gb"])
    assert 0 < found["on_top_of_libraries_gb"] < found["libraries_gb"]
