"""The study of losses, small."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import losses

from tests.support.scripts_run import run_script


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("losses")
    return "--out", str(folder), "--runs", str(folder / "runs"), "--workers", "1"


@pytest.fixture(scope="module")
def found(where: tuple[str, ...]) -> dict[str, Any]:
    run_script("scripts/loss_study.py", *where)
    report: dict[str, Any] = json.loads((Path(where[1]) / "loss_study.json").read_text())
    return report


def test_weights_are_those_that_were_best_on_the_tuning_seed(found: dict[str, Any]) -> None:
    assert found["tuning_seed"] not in found["seeds"]
    for teacher, by_name in found["tuning"].items():
        for name, row in by_name.items():
            usual = losses.LOSSES[teacher][name].get("weight", 1.0)
            tried = [usual * factor for factor in losses.FACTORS]
            assert found["weights"][teacher][name] == tried[int(np.argmax(row))]


def test_every_loss_is_alone_and_beside_kl_and_compared_by_seed(found: dict[str, Any]) -> None:
    names = {teacher: set(by_name) for teacher, by_name in found["values"].items()}
    assert len(names["one network"]) == 1 + 10 + 9
    assert names["ensemble"] == {name for name in names["one network"] if "layers" not in name} - {
        "fitnets",
        "attention_transfer",
        "kl + fitnets",
        "kl + attention_transfer",
    }
    for teacher, by_name in found["values"].items():
        assert set(found["versus_kl"][teacher]) == names[teacher] - {"kl"}
        for name, against in found["versus_kl"][teacher].items():
            assert against["mean"] == pytest.approx(np.mean(np.subtract(by_name[name], by_name["kl"])))
            assert against["low"] <= against["mean"] <= against["high"]


def test_beside_kl_both_count_by_half() -> None:
    factors = dict.fromkeys(losses.ON_LOGITS, 1.0) | {"mse": 4.0}
    made = losses.arms("ensemble", factors)
    assert made["labels"] == ()
    assert made["mse"] == (("mse", 4.0),)
    assert made["kl + mse"] == (("kl", 0.5), ("mse", 2.0))
    assert losses.weighed("ensemble", "dkd", 2.0) == {"name": "dkd", "weight": 0.5}


@pytest.mark.usefixtures("drawn_figures")
def test_a_second_call_only_writes_the_tables_again(where: tuple[str, ...], found: dict[str, Any]) -> None:
    before = (Path(where[1]) / "runs/results.jsonl").read_bytes()
    assert losses.main([*where]) == 0
    assert (Path(where[1]) / "runs/results.jsonl").read_bytes() == before
    assert json.loads((Path(where[1]) / "loss_study.json").read_text())["values"] == found["values"]
    assert (Path(where[1]) / "loss_study.png").stat().st_size > 10_000


def test_an_interval_is_over_seeds() -> None:
    # Differences of 1 and 3: 2 ± 12.706·1.
    against = losses.versus([71.0, 73.0], [70.0, 70.0])
    assert against["mean"] == pytest.approx(2.0)
    assert against["high"] - against["low"] == pytest.approx(2 * 12.706, rel=1e-4)
