"""Student rules: what the server makes of the clients' reports."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedkd.app import controls
from fedkd.app.checks import check
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.messages import (
    FEATURE_LABELS,
    FEATURE_LOGITS,
    FEATURE_VALUES,
    INCLUDED,
    MEANS,
    SIZES,
    Arrays,
    ClientReport,
    Traffic,
    parameter_digest,
    parameter_prefix,
    state_arrays,
)
from fedkd.engines.inline import InlineEngine
from fedkd.experiment import Experiment
from fedkd.models import hit_rate, predict
from fedkd.server.averaging import average_states
from fedkd.server.student_rule import RoundReports, StudentRule
from tests.support.federations import SMALL, experiment_of, federation

NONE = torch.zeros(0, 10)
EVERYTHING = torch.arange(40)
STILL = ("distillation.learning_rate=1e-12", "distillation.warmup=0")
MIXED = "clients.models=[{name: mlp, hidden: [8]}, {name: mlp, hidden: [4]}]"


def begun(experiment: Experiment, name: str, **options: object) -> StudentRule:
    rule: StudentRule = plugins.build(plugins.STUDENT_RULE, name, options)
    rule.begin(experiment)
    return rule


def report(client: int, arrays: Arrays, examples: int = 1) -> ClientReport:
    return ClientReport(client, 1, NONE, examples, arrays=arrays)


def answers(*reports: ClientReport, round: int = 1) -> RoundReports:
    return RoundReports(round, reports, EVERYTHING, EVERYTHING)


def constant(experiment: Experiment, value: float, architecture: int = 0) -> Arrays:
    """The parameters of a model, all equal."""
    prefix = parameter_prefix(architecture)
    state = state_arrays(experiment.initial_model(architecture).state_dict())
    return {prefix + name: np.full_like(array, value) for name, array in state.items()}


def values(rule: StudentRule) -> set[float]:
    assert rule.student is not None
    return {round(float(value), 6) for tensor in rule.student.state_dict().values() for value in tensor.flatten()}


# Averages


def test_states_are_averaged_by_examples() -> None:
    first = {"w": np.array([0.0, 1.0], np.float32), "steps": np.array(7)}
    second = {"w": np.array([4.0, 1.0], np.float32), "steps": np.array(9)}
    mean = average_states([first, second], [1, 3])
    assert mean["w"].tolist() == [3.0, 1.0]
    assert mean["w"].dtype == np.float32
    assert mean["steps"] == 7
    assert average_states([first, second], [0, 0])["w"].tolist() == [2.0, 1.0]
    # Half of float32's largest number twice: the sum must not overflow on the way.
    large = {"w": np.array([3e38], np.float32)}
    assert average_states([large, large], [1, 1])["w"].tolist() == pytest.approx([3e38])


def test_the_student_becomes_the_mean_by_examples() -> None:
    experiment = experiment_of()
    rule = begun(experiment, "average")
    update = rule.update(answers(report(0, constant(experiment, 0.0), 1), report(2, constant(experiment, 1.0), 3)))
    assert values(rule) == {0.75}
    assert (update.targets, update.consensus, update.distilled) == (None, None, None)
    assert {name: array.flat[0] for name, array in rule.broadcast().items()} == dict.fromkeys(rule.broadcast(), 0.75)


@pytest.mark.parametrize("name", ["average", "average_and_distil"])
def test_a_model_whose_answers_are_beyond_all_bounds_is_a_fault(name: str) -> None:
    experiment = experiment_of()
    rule = begun(experiment, name)
    assert rule.fault(report(0, constant(experiment, 0.1))) is None
    assert "must lie within ±10000" in str(rule.fault(report(0, constant(experiment, 1e3))))


def test_federated_averaging_as_an_algorithm_is_the_control() -> None:
    run = federation(None, "clients.rule=parameters", "student.rule=average", "clients.fraction=0.75")
    found = [result.record.student_accuracy for result in run.rounds(3)]
    # Another algorithm, client models of their own and attackers: the control knows none of it.
    other = experiment_of(
        *("clients.fraction=0.75", "clients.rule=own_model", MIXED.replace("hidden: [4]", "hidden: [5]")),
        *("engine.resources={mlp: {threads: 1}}", "clients.attackers.share=0.5"),
    )
    with InlineEngine() as engine:
        assert controls.fedavg(other, engine.run, lambda done, total: None) == found
    assert len(set(found)) > 1


def test_the_averaging_control_runs_where_only_other_architectures_have_resources() -> None:
    experiment = experiment_of(
        "clients.models=[cnn]", "engine.resources={cnn: {threads: 1}}", "clients.rule=own_model", "rounds=1"
    )
    with InlineEngine() as engine:
        assert len(controls.fedavg(experiment, engine.run, lambda done, total: None)) == 1


# FedDF


def refined(rule: StudentRule, experiment: Experiment) -> list[ClientReport]:
    """Reports of four clients, of architectures in turn, with parameters 0, 1, 2, 3 and examples 1, 1, 3, 1."""
    reports = [
        report(client, constant(experiment, float(client), experiment.architecture_of(client)), examples)
        for client, examples in enumerate((1, 1, 3, 1))
    ]
    assert [rule.fault(each) for each in reports] == [None] * 4
    return reports


def levels(rule: StudentRule) -> dict[int, float]:
    """The mean of the parameters offered of each architecture."""
    found: dict[int, list[float]] = {}
    for name, array in rule.broadcast().items():
        found.setdefault(int(name.split("/")[1]), []).append(float(array.mean()))
    return {index: float(np.mean(means)) for index, means in found.items()}


@pytest.mark.parametrize("refine", [True, False])
def test_each_architecture_has_its_own_average(refine: bool) -> None:
    experiment = experiment_of(MIXED, *STILL, "strategy=mean_logits")
    rule = begun(experiment, "average_and_distil", refine=refine)
    rule.update(answers(*refined(rule, experiment)))
    # Clients 0 and 2, by 1 and 3 examples; clients 1 and 3, by 1 and 1.
    assert levels(rule) == pytest.approx({0: 1.5, 1: 2.0}, abs=1e-6)
    assert values(rule) == {1.5}


def test_only_with_refine_are_the_clients_averages_distilled() -> None:
    moved = []
    for refine in (True, False):
        experiment = experiment_of(
            MIXED, "distillation.learning_rate=0.1", "distillation.warmup=0", "strategy=mean_logits"
        )
        rule = begun(experiment, "average_and_distil", refine=refine)
        rule.update(answers(*refined(rule, experiment)))
        moved.append({name[:13] for name, array in rule.broadcast().items() if np.ptp(array) > 1e-4})
    # An average of constants is constant, and a distilled one no longer.
    assert moved == [{"parameters/0/", "parameters/1/"}, {"parameters/0/"}]


def test_a_student_that_no_client_has_is_distilled_alone_and_goes_on_from_where_it_was() -> None:
    experiment = experiment_of("clients.models=[{name: mlp, hidden: [4]}]", *STILL, "strategy=mean_logits")
    rule = begun(experiment, "average_and_distil")
    assert rule.student is not None
    before = predict(rule.student, experiment.data.public.inputs)
    reports = [report(client, constant(experiment, 1.0, 1)) for client in range(4)]
    rule.update(answers(*reports))
    assert torch.allclose(predict(rule.student, experiment.data.public.inputs), before, atol=1e-5)
    assert levels(rule) == pytest.approx({1: 1.0})
    assert {row.received for row in federation(None, *FED_ET).round(1).clients} == {
        Traffic(parameters=4 * (65 * 4 + 10 * 4 + 10))
    }


FED_ET = ("clients.models=[{name: mlp, hidden: [4]}]", "clients.rule=parameters", "student.rule=average_and_distil")


def test_the_ensemble_of_parameters_can_use_every_teacher() -> None:
    for name in ("class_count_weighted", "stacked", "vote"):
        run = federation(None, *FED_ET, f"strategy={name}")
        result = run.round(1)
        assert not result.record.failures
        assert result.record.mean_lambda is not None


def test_label_counts_are_disclosed_only_where_a_teacher_uses_them() -> None:
    for rules, extra in (
        (("clients.rule=broadcast", "student.rule=distil"), 40),
        (("clients.rule=parameters", "student.rule=average"), 0),
    ):
        run = federation(None, *rules, "strategy=class_count_weighted")
        assert {row.sent.other for row in run.round(1).clients} == {extra}


# Means per label


def means(*rows: tuple[int, float, int]) -> Arrays:
    """Means of one column: (label, mean, samples)."""
    arrays: Arrays = {MEANS: np.zeros((10, 1), np.float32), SIZES: np.zeros(10, np.int32)}
    for label, mean, samples in rows:
        arrays[MEANS][label], arrays[SIZES][label] = mean, samples
    return arrays


def test_label_means_are_weighted_by_their_samples() -> None:
    rule = begun(experiment_of(), "label_means")
    assert rule.broadcast() == {}
    rule.update(answers(report(0, means((0, 1.0, 2), (1, 5.0, 3))), report(3, means((0, 4.0, 1), (9, -2.0, 7)))))
    sent = rule.broadcast()
    assert sent[MEANS][:, 0].tolist() == [2.0, 5.0, 0, 0, 0, 0, 0, 0, 0, -2.0]
    assert sent[SIZES].tolist() == [3, 3, 0, 0, 0, 0, 0, 0, 0, 7]
    assert [sorted(rule.personal(client)) for client in range(4)] == [[INCLUDED], [], [], [INCLUDED]]
    assert rule.student is None
    again = begun(experiment_of(), "label_means")
    again.load_state_dict(rule.state_dict())
    assert again.personal(3)
    assert (again.broadcast()[MEANS] == sent[MEANS]).all()


def test_means_of_several_widths_have_no_mean() -> None:
    rule = begun(experiment_of(), "label_means")
    good = means((0, 1.0, 2))
    with pytest.raises(RunError, match="give their models one width"):
        rule.update(answers(report(0, good), report(1, good | {MEANS: np.zeros((10, 2), np.float32)})))


@pytest.mark.parametrize("client_rule", ["label_logits", "prototypes"])
def test_algorithms_without_a_student_report_how_the_clients_do(tmp_path: Path, client_rule: str) -> None:
    run = federation(tmp_path, f"clients.rule={client_rule}", "student.rule=label_means", "clients.fraction=0.75")
    for round in range(1, 4):
        result = run.round(round, probe=round == 3)
        assert not result.record.failures
        assert (result.record.student_accuracy, result.record.mean_lambda, result.rows) == (None, None, ())
        assert result.record.client_accuracy is not None
        width = 10 if client_rule == "label_logits" else 8
        assert {row.sent for row in result.clients} == {Traffic(other=10 * width * 4 + 10 * 4)}
    assert all(row.test_accuracy is not None for row in result.clients)


# Features


def features(rows: Any, examples: int, width: int = 8) -> Arrays:
    draw = np.random.default_rng(rows)
    return {
        FEATURE_VALUES: draw.normal(size=(examples, width)).astype(np.float32),
        FEATURE_LOGITS: draw.normal(size=(examples, 10)).astype(np.float32),
        FEATURE_LABELS: draw.integers(10, size=examples).astype(np.int16),
    }


def test_every_client_gets_the_answers_to_its_own_samples() -> None:
    rule = begun(experiment_of(), "features")
    assert [rule.personal(client) for client in range(3)] == [{}] * 3
    first = features(1, 5)
    turned = {name: array[::-1].copy() for name, array in first.items()}
    other = features(2, 7)
    rule.update(answers(report(0, first, 5), report(1, turned, 5), report(2, other, 7)))
    answered = [rule.personal(client)["server_logits"] for client in range(3)]
    assert [array.shape for array in answered] == [(5, 10), (5, 10), (7, 10)]
    assert answered[1] == pytest.approx(answered[0][::-1], abs=1e-6)
    assert len({tuple(row) for row in answered[0].round(4).tolist()}) == 5
    # A client that is missing keeps the last answers to its samples; so does a server that goes on from its state.
    again = begun(experiment_of(), "features")
    again.load_state_dict(rule.state_dict())
    for each in (rule, again):
        each.update(answers(report(0, first, 5), round=2))
        assert (each.personal(2)["server_logits"] == answered[2]).all()
        assert (each.personal(0)["server_logits"] != answered[0]).any()
    assert (rule.personal(0)["server_logits"] == again.personal(0)["server_logits"]).all()


def test_features_of_no_sample_or_of_several_widths_are_of_no_use() -> None:
    rule = begun(experiment_of(), "features")
    good = features(1, 4)
    assert rule.fault(report(0, good, 4)) is None
    assert FEATURE_VALUES in str(rule.fault(report(0, features(1, 0), 0)))
    with pytest.raises(RunError, match=r"got \[4, 8\]; give their models one width"):
        rule.update(answers(report(0, good, 4), report(1, features(1, 4, width=4), 4)))
    rule.update(answers(report(0, good, 4)))
    with pytest.raises(RunError, match="one width"):
        rule.update(answers(report(0, features(1, 4, width=4), 4), round=2))


def test_the_servers_model_learns_from_features(tmp_path: Path) -> None:
    experiment = ("clients.rule=features", "student.rule={name: features, epochs: 20}", "data.private_size=400")
    run = federation(tmp_path, *experiment, "clients.epochs=5", "clients.fraction=0.75")
    results = [run.round(round, probe=round == 3) for round in (1, 2, 3)]
    assert [result.record.failures for result in results] == [()] * 3
    assert [result.record.student_accuracy is None for result in results] == [True, True, False]
    assert float(results[2].record.student_accuracy or 0) > 0.4


# Distillation


def test_clients_are_sent_the_teachers_targets_or_the_students() -> None:
    for whose in ("teacher", "student"):
        run = federation(Path("/nowhere"), f"student.rule={{name: distil, consensus: {whose}}}", "strategy=mean_logits")
        logits = torch.zeros(40, 10)
        logits[:, 4] = 5.0
        reports = [ClientReport(client, 1, logits, 1) for client in range(4)]
        update = run.server.rule.update(answers(*reports))
        student = run.server.rule.student
        assert update.consensus is not None
        assert student is not None
        expected = logits if whose == "teacher" else predict(student, run.experiment.data.public.inputs)
        assert torch.allclose(update.consensus.log_probabilities, expected.log_softmax(dim=1), atol=1e-6)
        # What the student says about samples whose labels it has learnt would hand the labels on.
        unknown = run.experiment.data.public.labels == -1
        assert update.consensus.mask.tolist() == (unknown if whose == "student" else unknown | True).tolist()


PRETRAINED = "student.rule={name: distil, pretrain_steps: 30}"


def test_a_student_may_learn_from_the_public_labels_before_it_is_sent_out(tmp_path: Path) -> None:
    experiment = experiment_of(PRETRAINED, "distillation.learning_rate=0.1")
    student = begun(experiment, "distil", pretrain_steps=30).student
    plain = begun(experiment, "distil").student
    assert student is not None
    assert plain is not None
    initial = experiment.initial_model()
    assert parameter_digest(plain.state_dict()) == parameter_digest(initial.state_dict())
    inputs, labels = experiment.data.public.inputs, experiment.data.public.labels
    known = labels >= 0
    before, after = (hit_rate(predict(model, inputs[known]), labels[known]) for model in (plain, student))
    assert after > before + 0.3
    # Repeatable, and what clients get.
    again = begun(experiment, "distil", pretrain_steps=30)
    assert again.student is not None
    assert parameter_digest(again.student.state_dict()) == parameter_digest(student.state_dict())
    sent = federation(None, PRETRAINED, "distillation.learning_rate=0.1").ask(1)[0].parameters
    for name, value in student.state_dict().items():
        np.testing.assert_array_equal(sent[parameter_prefix(0) + name], value.numpy())


def test_learning_before_the_first_round_takes_labels() -> None:
    with pytest.raises(ConfigError, match=r"student\.rule: distil trains on labelled public samples before"):
        check(load_config(SMALL, [PRETRAINED, "data.public.labelled=0"]))
