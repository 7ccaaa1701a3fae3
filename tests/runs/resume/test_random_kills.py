"""Runs that are killed at random moments end as if nothing had happened."""

import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.interrupted import PLAIN, REMEMBERING, Plan, Zygote, results

ROUNDS = 10

PRIVATE: dict[str, Any] = PLAIN | {
    "clients": {"count": 3, "fraction": 0.7},
    "privacy": {"mechanism": {"name": "dp_sgd", "noise_multiplier": 1.5}},
}
"""Clients that train with differential privacy, every round of which costs some."""

CONFIGS = {
    "remembering": REMEMBERING | {"rounds": ROUNDS, "controls": ["public_only", "teacher_only"]},
    "private": PRIVATE | {"rounds": ROUNDS, "controls": ["public_only"]},
}


def random_plans(draw: random.Random, moments: dict[str, int]) -> list[Plan]:
    """Ten moments: eight within two rounds of where the run then goes on, so that all of them come; two in controls.

    Of each kind there are two at least.
    """
    kinds = draw.sample(["clients", "distillation", "writing"] * 3, k=8)
    plans = [
        {"kind": kind, "nth": draw.randint(1, 2 * moments[kind] // ROUNDS), "tear": draw.randrange(300)}
        for kind in kinds
    ]
    return [*plans, *({"kind": "controls", "nth": draw.randint(1, moments["controls"] // 2)} for _ in range(2))]


@pytest.mark.parametrize("name", CONFIGS)
def test_ten_kills_at_random_moments(zygote: Zygote, tmp_path: Path, name: str) -> None:
    config, draw = CONFIGS[name], random.Random(name)
    answer = zygote.run(tmp_path / "reference", config)
    expected = results(tmp_path / "reference")
    assert (expected["summary"]["epsilon"] is not None) == (name == "private")
    plans = random_plans(draw, answer["moments"])
    assert zygote.killed_again_and_again(tmp_path / "run", config, plans) == expected


def test_kills_at_random_times(zygote: Zygote, remembering: dict[str, Any], tmp_path: Path) -> None:
    out, draw = tmp_path / "run", random.Random(5)
    for _ in range(4):
        zygote.run(out, REMEMBERING, {"seconds": draw.uniform(0.05, 0.6)}, resume=True)
    zygote.complete(out, REMEMBERING, resume=True)
    assert results(out) == remembering


def test_kills_at_random_moments_on_ray_leave_nothing_behind(
    zygote: Zygote, plain: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    out, draw = tmp_path / "run", random.Random(8)
    config = PLAIN | {"engine": {"kind": "ray", "workers": 1}}
    for plan in (
        {"stage": "clients", "round": 1, "done": draw.randrange(3)},
        {"stage": "distillation", "round": draw.choice([2, 3]), "done": draw.randint(1, 8)},
    ):
        zygote.killed(out, config, plan)
    zygote.complete(out, config, resume=True)
    found = results(out)
    assert yaml.safe_load(found.pop("config.yaml"))["engine"]["kind"] == "ray"
    assert found == {name: value for name, value in plain.items() if name != "config.yaml"}
    deadline = time.monotonic() + 60
    while (left := zygote.children()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left
