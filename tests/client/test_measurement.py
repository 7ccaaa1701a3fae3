"""What clients measure for the simulator's user, and when they are asked to."""

import csv
from pathlib import Path

import pytest
from torch import nn

from fedkd.app.run import run_experiment
from fedkd.client.measurement import measure
from fedkd.client.round import train_and_answer
from fedkd.client.setup import behaviour_of, client_rule
from fedkd.config.load import load_config
from tests.support.federations import SMALL, experiment_of, federation

AVERAGE = ("clients.rule=parameters", "student.rule=average")


def test_one_pass_over_the_test_samples_is_enough() -> None:
    experiment = experiment_of("data.client_validation=0")
    job = federation(None, "data.client_validation=0").server.job(1, probe=True)
    context, upload, _ = train_and_answer(experiment, job, 2)
    seen: list[int] = []
    assert isinstance(upload.model, nn.Module)
    upload.model.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    found = measure(context, upload, client_rule(experiment), behaviour_of(experiment, 2), job)
    tests = len(experiment.data.test_labels)
    assert sum(seen) == tests
    assert found is not None
    assert found.test_logits is not None
    assert found.test_accuracy == float((found.test_logits.argmax(1) == experiment.data.test_labels.numpy()).mean())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (("controls=[public_only,fedavg]",), False),
        (AVERAGE, False),
        ((*AVERAGE, "clients.measure_test=true"), True),
        (("controls=[local_only]",), True),
        (("controls=[teacher_only]",), True),
        (("clients.rule=prototypes", "student.rule=label_means"), True),
    ],
)
def test_clients_are_measured_on_test_samples_where_something_asks_for_it(
    tmp_path: Path, changes: tuple[str, ...], expected: bool
) -> None:
    summary = run_experiment(load_config(SMALL, [*changes, "rounds=2"]), tmp_path / "run").summary
    with (tmp_path / "run" / "clients.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["test_accuracy"]) for row in rows] == [False] * 4 + [expected] * 4
    assert (summary.client_test_accuracy is not None) == expected


def test_a_control_that_is_asked_for_later_has_the_last_round_done_again(tmp_path: Path) -> None:
    without = run_experiment(load_config(SMALL), tmp_path / "run").summary
    later = run_experiment(load_config(SMALL, ["controls=[teacher_only]"]), tmp_path / "run", resume=True).summary
    at_once = run_experiment(load_config(SMALL, ["controls=[teacher_only]"]), tmp_path / "at_once").summary
    assert later.controls == at_once.controls != {}
    assert without.student_sha256 == later.student_sha256 == at_once.student_sha256
    assert later.client_test_accuracy == at_once.client_test_accuracy
