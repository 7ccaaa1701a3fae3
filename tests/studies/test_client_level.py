"""The study of client-level privacy runs small, says what its runs say, and is tuned on samples of its own."""

import csv
import json
from pathlib import Path

import pytest
from studies.client_level import settings, study
from studies.client_level.settings import PRESETS, SETTINGS, TRIALS

from fedkd.config.load import load_config
from tests.support import ROOT
from tests.support.scripts_run import run_script


def test_the_study_runs_small_and_adds_up(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    table = run_script("scripts/client_level_study.py", "--out", str(tmp_path), "--runs", str(runs), "--workers", "1")
    found = json.loads((tmp_path / "client_level.json").read_text())
    summaries = {
        load_config(path.parent / "config.yaml").strategy.name: json.loads(path.read_text())
        for path in runs.glob("*/summary.json")
    }
    plain, protected = found["rows"]
    assert protected["student_accuracy"] == summaries["gnmax"]["student_accuracy"]
    public_only = summaries["vote"]["controls"]["public_only"]
    assert protected["leads"] == [pytest.approx(100 * (protected["student_accuracy"] - public_only))]
    assert plain["epsilon"] is None
    assert 7.9 < protected["epsilon"] <= 8.0
    assert protected["protects"] == "client"
    # Nobody but the server, which is trusted, sees the reports of a protected run.
    assert {each["observation"] for each in protected["attacks"]} == {"consensus", "student"}
    assert {each["observation"] for each in plain["attacks"]} == {"queried", "transcript", "consensus", "student"}
    assert "stands: no lower confidence limit" in table
    with (tmp_path / "client_level.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["clients"] for row in rows} == {"10"}
    assert (tmp_path / "client_level.png").stat().st_size > 5_000


def test_tuning_has_seeds_and_samples_of_its_own() -> None:
    reporting = PRESETS["full"]["seeds"]
    assert not set(TRIALS) & set(reporting)
    most = max(cell.clients for cell in PRESETS["full"]["cells"])
    for name in SETTINGS:
        options = study.trial(name, TRIALS[0]).data.dataset.options
        assert options["seeds"] == list(reporting)
        assert options["private_size"] == most * settings.SAMPLES


def test_the_shipped_setting_is_the_one_that_tuning_chose() -> None:
    chosen = json.loads((ROOT / "docs/results/client_level_tuning.json").read_text())["chosen"]
    path = ROOT / "configs/privacy/many_clients.yaml"
    assert load_config(path) == load_config(path, list(SETTINGS[chosen]))
