"""What analyses ask is what the run was: its teacher, its clients and its noise, of every kind of run."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from fedkd.analysis import NotKnown, Subject
from fedkd.app.analyse import subject_of
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.models import accuracy, hit_rate
from fedkd.results.observer import Silent
from fedkd.results.records import Summary
from fedkd.server.finished import Finished

SMALL = {
    "rounds": 2,
    "data": {"private_size": 300, "public": {"size": 150, "labelled": 60}},
    "clients": {"count": 4, "epochs": 2},
    "student": {"model": "cnn"},
    "distillation": {"steps": 20},
    "controls": ["teacher_only"],
    "engine": {"kind": "inline"},
}
OWN_MODELS = ("clients.rule=own_model", "clients.models=[cnn,mlp]")
KINDS = {
    "a student that is sent to all": (),
    "networks of their own": OWN_MODELS,
    "messages as differences": (
        *OWN_MODELS,
        "communication.uplink={name: quantise, bits: 4, delta: true, compress: zlib}",
    ),
    "a part of the clients": ("clients.fraction=0.5", "rounds=3"),
    "clients with threads of their own": ("engine.resources={cnn: {threads: 2}}",),
    "a strategy fitted on labels": ("strategy=stacked",),
    "noise on logits": ("privacy.mechanism={name: gaussian_logits, noise_multiplier: 0.05}", "strategy=mean_logits"),
    "noise in training": ("privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}",),
    "noise of the server": ("strategy={name: gaussian_mean, noise: 0.05}",),
    "attackers that collude": ("clients.attackers={share: 0.5, behaviour: little_is_enough}",),
}


def finished(out: Path, *changes: str) -> tuple[Summary, Subject]:
    summary = run_experiment(load_config(SMALL, changes), out).summary
    return summary, subject_of(Finished.of(out), Silent())


@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_of_test_samples_is_the_one_that_the_run_measured(kind: str, tmp_path: Path) -> None:
    summary, subject = finished(tmp_path / "run", *KINDS[kind])
    assert hit_rate(subject.teacher(subject.test.inputs), subject.test.labels) == summary.controls["teacher_only"]
    row: dict[str, Any]
    with (tmp_path / "run/clients.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["round"] == str(summary.rounds):
                network = subject.clients[int(row["client"])]
                assert accuracy(network, subject.test.inputs, subject.test.labels) == float(row["test_accuracy"])
    assert subject.client_answers(subject.test.inputs).shape[0] == len(subject.clients)


def test_a_secure_sum_shows_the_teacher_and_no_client(tmp_path: Path) -> None:
    open_run = ("strategy=mean_probabilities", "controls=[]")
    _, seen = finished(tmp_path / "open", *open_run)
    _, hidden = finished(tmp_path / "secure", *open_run, "privacy.secure_aggregation={}")
    inputs = hidden.test.inputs[:50]
    torch.testing.assert_close(hidden.teacher(inputs).exp(), seen.teacher(inputs).exp(), rtol=0, atol=1e-4)
    assert hidden.clients == {}
    assert hidden.client_weights is None
    with pytest.raises(NotKnown, match="secure sum hides"):
        hidden.client_answers(inputs)


def test_clients_that_send_parameters_have_no_teacher(tmp_path: Path) -> None:
    fedavg = ("clients.rule=parameters", "student.rule=average", "controls=[]")
    _, subject = finished(tmp_path / "run", *fedavg)
    assert sorted(subject.clients) == [0, 1, 2, 3]
    with pytest.raises(NotKnown, match="makes no teacher"):
        subject.teacher(subject.test.inputs)
    with pytest.raises(NotKnown, match="add public_only to controls"):
        subject.network("without teacher")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (("privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}", "privacy.entropy=system"), "operating system"),
        (
            (
                "strategy=mean_probabilities",
                "privacy.secure_aggregation={}",
                "privacy.mechanism={name: distributed_skellam, noise_multiplier: 1.0}",
            ),
            "within a secure sum",
        ),
    ],
)
def test_noise_that_cannot_be_drawn_again_hides_the_teacher(
    changes: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    _, subject = finished(tmp_path / "run", *changes, "controls=[]")
    with pytest.raises(NotKnown, match=reason):
        subject.teacher(subject.test.inputs)
    assert accuracy(subject.network("student"), subject.test.inputs, subject.test.labels) > 0


def test_the_student_without_a_teacher_is_the_control(tmp_path: Path) -> None:
    summary, subject = finished(tmp_path / "run", "controls=[public_only]")
    network = subject.network("without teacher")
    assert accuracy(network, subject.test.inputs, subject.test.labels) == summary.controls["public_only"]
