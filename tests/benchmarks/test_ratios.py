"""The benchmarks print what tools read."""

import json

import pytest

from tests.support.scripts_run import run_script


def test_the_balancer_benchmark_prints_flat_json() -> None:
    found = json.loads(run_script("scripts/benchmark.py", "balancer", "--json", "--repeats", "1"))
    assert {"default_ratio", "exact_ratio", "loss_ratio_mse", "loss_ratio_transformer_layers"} <= set(found)
    # By hand: 32 · 64·7·7 features of each network, a projection of 32·64 + 64, thrice; floats.
    assert found["loss_kilobytes_fitnets"] == pytest.approx(4 * (2 * 32 * 64 * 49 + 3 * (32 * 64 + 64)) / 1e3)
    assert found["loss_kilobytes_attention_transfer"] == pytest.approx(4 * 32 * 64 * 49 / 1e3, abs=1e-3)
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_the_privacy_benchmark_prints_flat_json() -> None:
    found = json.loads(run_script("scripts/benchmark.py", "privacy", "--json", "--repeats", "1"))
    assert {"dp_sgd_ratio", "opacus_ratio"} <= set(found)
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_the_start_benchmark_prints_flat_json() -> None:
    found = json.loads(run_script("scripts/benchmark.py", "start", "--json", "--repeats", "1"))
    assert set(found) == {"import_torch_seconds", "start_inline", "start_ray"}
    assert all(isinstance(value, float) and value > 0 for value in found.values())


def test_the_vectorised_benchmark_prints_flat_json() -> None:
    found = json.loads(run_script("scripts/benchmark.py", "vectorised", "--json", "--repeats", "1"))
    assert found.pop("on_gpu") in (0.0, 1.0)
    assert {name.partition("_")[0] for name in found} >= {"cnn", "mlp"}
    assert all(isinstance(value, float) and value > 0 for value in found.values())
