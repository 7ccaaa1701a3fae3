"""The report on a compression: sizes and shares by hand, and what is left out where packages are missing."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedkd.app.distil.report import CompressionReport, compression_report
from fedkd.app.export import Session
from fedkd.config.load import load_config
from fedkd.experiment import Experiment
from fedkd.models import hit_rate, predict

NAMES = ["teacher", "student", "student_without_teacher", "student_onnx", "student_int8"]


def plain(hidden: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def scores_with(labels: Tensor, right: int) -> Tensor:
    """Logits that name the label of the first samples, and the next class of the others."""
    named = torch.where(torch.arange(len(labels)) < right, labels, (labels + 1) % 10)
    return nn.functional.one_hot(named, 10).float()


def report_on(notices: list[str]) -> tuple[CompressionReport, Experiment, nn.Module]:
    experiment = Experiment.of(load_config({"data": {"public": {"size": 100, "labelled": 40}}}))
    whole = experiment.data
    data = replace(whole, test_inputs=whole.test_inputs[:200], test_labels=whole.test_labels[:200])
    experiment = replace(experiment, given=data)
    student = plain(10)
    networks = {"teacher": plain(100), "student": student, "student_without_teacher": plain(10)}
    networks["teacher"].requires_grad_(False)
    right = {"teacher": 180, "student": 171, "student_without_teacher": 150}
    scores = {name: scores_with(data.test_labels, count) for name, count in right.items()}
    return compression_report(experiment, networks, scores, notices.append), experiment, student


def test_the_report_by_hand(tmp_path: Path) -> None:
    notices: list[str] = []
    found, experiment, student = report_on(notices)
    rows = {row.network: row for row in found.rows}
    assert list(rows) == NAMES
    # 64·100+100 + 100·10+10, and 64·10+10 + 10·10+10; two operations per weight, four bytes per number.
    assert [rows[name].parameters for name in NAMES] == [7510, *[760] * 4]
    assert [rows[name].flops for name in NAMES] == [2 * 7400, *[2 * 740] * 4]
    assert [rows[name].bytes for name in NAMES[:3]] == [4 * 7510, 4 * 760, 4 * 760]
    assert [rows[name].accuracy for name in NAMES[:4]] == [0.9, 0.855, 0.75, 0.855]
    # Teacher and student name another class than each other on samples 171 to 179 alone.
    assert [rows[name].agreement for name in NAMES[:4]] == [1.0, 191 / 200, 170 / 200, 191 / 200]
    assert found.summary["parameters_ratio"] == 7510 / 760
    assert found.summary["accuracy_kept"] == pytest.approx(0.95)
    assert found.summary["gain_over_no_teacher"] == pytest.approx(10.5)
    assert all(row.latency_ms_1 > 0 and row.latency_ms_64 > 0 for row in found.rows)

    inputs, labels = experiment.data.test_inputs[:], experiment.data.test_labels
    assert found.int8 is not None
    logits = Session(found.int8)(inputs)
    assert rows["student_int8"].accuracy == hit_rate(logits, labels)
    assert hit_rate(logits, predict(student, inputs).argmax(dim=1)) > 0.95

    found.write(tmp_path, notices.append)
    assert notices == []
    written = json.loads((tmp_path / "compression.json").read_text(encoding="utf-8"))
    assert {name: written[name] for name in found.summary} == found.summary
    with (tmp_path / "compression.csv").open(encoding="utf-8") as file:
        assert [(row["network"], int(row["parameters"])) for row in csv.DictReader(file)] == [
            (row["network"], row["parameters"]) for row in written["networks"]
        ]
    assert (tmp_path / "student_int8.onnx").read_bytes() == found.int8
    assert (tmp_path / "plots/compression.png").is_file()


def test_without_the_extra_there_is_no_8_bit_student_and_a_word_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedkd.app.distil.report.find_spec", lambda name: None)
    notices: list[str] = []
    found, _, _ = report_on(notices)
    assert [row.network for row in found.rows] == NAMES[:3]
    assert len(notices) == 1
    assert "pip install 'fedkd[export]'" in notices[0]
    found.write(tmp_path, notices.append)
    assert not (tmp_path / "student_int8.onnx").exists()
