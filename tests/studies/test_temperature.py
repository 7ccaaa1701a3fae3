"""The study of temperatures, small."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studies import temperature as study
from studies.tasks import Results
from studies.teaching import distilled

from fedkd.aggregation.types import Teacher
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from tests.support.scripts_run import run_script


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("temperature")
    run_script("scripts/temperature_study.py", "--out", str(folder), "--runs", str(folder / "runs"), "--workers", "1")
    return folder


@pytest.fixture(scope="module")
def found(where: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((where / "temperature_study.json").read_text())
    return content


def test_every_target_has_a_student_of_every_seed(where: Path, found: dict[str, Any]) -> None:
    assert list(found["values"]) == [*study.SETTINGS, study.AUTO]
    assert all(len(row) == 2 for figures in found["values"].values() for row in figures.values())
    lines = (where / "temperature_study.csv").read_text().splitlines()
    assert len(lines) == 1 + len(found["values"])
    assert (where / "temperature_study.png").stat().st_size > 10_000


def test_auto_chooses_what_a_run_chooses_and_its_regret_is_against_the_best_candidate(
    where: Path, found: dict[str, Any]
) -> None:
    preset, seed = study.PRESETS["small"], 0
    experiment = Experiment.of(preset.config(seed, {"distillation.temperature": "auto"}))
    teacher = torch.from_numpy(np.load(where / "runs/small" / f"teacher_{seed}.npy"))[:400]
    student, result = distilled(experiment, Teacher.from_logits(teacher))
    assert result.choice is not None
    candidates = [trial.candidate for trial in result.choice.trials]
    assert study.CANDIDATES[candidates.index(result.choice.chosen)] == found["auto"]["chosen"]["0"]
    reached = 100 * accuracy(student, experiment.data.test_inputs, experiment.data.test_labels)
    assert found["values"]["auto"]["accuracy"][0] == pytest.approx(reached, abs=1e-3)
    means = {name: float(np.mean(found["values"][name]["accuracy"])) for name in (*study.CANDIDATES, study.AUTO)}
    assert found["auto"]["regret"]["mean"] == pytest.approx(max(means.values()) - means[study.AUTO])


def test_a_second_call_only_writes_the_tables_again(where: Path, found: dict[str, Any]) -> None:
    before = Results(where / "runs/results.jsonl")
    assert study.main(["--out", str(where / "again"), "--runs", str(where / "runs")]) == 0
    assert json.loads((where / "again/temperature_study.json").read_text()) == found
    assert ("small", 0, "auto") in before


def test_differences_by_hand() -> None:
    # Differences of 1 and 3: 2 ± 12.706·1.
    values = {"one": {"accuracy": [71.0, 75.0]}, "other": {"accuracy": [70.0, 72.0]}}
    lead = study.difference(values, "one", "other", "accuracy")
    assert lead["mean"] == 2.0
    assert lead["high"] - lead["mean"] == pytest.approx(12.706, rel=1e-4)
