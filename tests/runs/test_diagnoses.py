"""Whole runs with one thing wrong each, or none: the diagnosis says which."""

import json
from pathlib import Path

import pytest
from studies.diagnoses import BASE, CASES, Case, diagnosis_of

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.distillation.diagnosis import Verdict
from fedkd.results.report.run_page import write_report
from tests.support.html_pages import page


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_said_with_the_number_of_samples(case: Case, tmp_path: Path) -> None:
    found = diagnosis_of(case, tmp_path / "run")
    assert found.verdict is case.expected
    assert found.samples == {Verdict.NO_LABELS: 0, Verdict.TOO_FEW_SAMPLES: 15}.get(case.expected, 150)
    if found.verdict is not Verdict.NO_LABELS:
        assert str(found.samples) in found.text


def test_a_diagnosis_is_in_the_records_and_in_the_report(tmp_path: Path) -> None:
    run_experiment(load_config(dict(BASE), ["clients.attackers={share: 0.5, behaviour: lma}"]), tmp_path)
    (record,) = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert record["diagnosis"]["verdict"] == summary["diagnosis"]["verdict"] == "attackers"
    assert (record["circumstances"]["attackers"], record["circumstances"]["clients"]) == (2, 4)
    assert record["circumstances"]["honest_accuracy"] > 0.9
    assert record["validation"]["target_entropy"] > record["validation"]["teacher_entropy"]
    text = page(write_report(tmp_path)).text
    assert f"On 150 validation samples: {summary['diagnosis']['text']}" in text
