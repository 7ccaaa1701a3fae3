"""Clients with architectures of their own: dealt out in turn, reported by client, and alike in every engine."""

import csv
from pathlib import Path

import pytest
import torch

from fedkd.config.load import load_config, to_json
from fedkd.config.values import Plugin
from fedkd.core.messages import parameter_digest
from fedkd.engines.building import build_engine
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from fedkd.server.server import RoundResult, Server
from tests.support.federations import SMALL, experiment_of, federation

MODELS = "clients.models=[cnn, {name: mlp, hidden: [8]}, {name: mlp, hidden: [5, 5]}, resnet8]"
OWN = ("clients.rule=own_model", MODELS)


def test_architectures_are_dealt_out_in_turn_and_the_students_comes_first() -> None:
    experiment = experiment_of(*OWN, "clients.count=6")
    assert experiment.architectures == (
        Plugin("mlp", {"hidden": [8]}),
        Plugin("cnn"),
        Plugin("mlp", {"hidden": [5, 5]}),
        Plugin("resnet8"),
    )
    assert [experiment.architecture_of(client) for client in range(6)] == [1, 0, 2, 3, 1, 0]
    # All clients of one architecture begin alike, and like the server's student if it is that.
    first = [parameter_digest(experiment.initial_model(index).state_dict()) for index in range(4)]
    assert len(set(first)) == 4
    assert parameter_digest(experiment_of().initial_model().state_dict()) == first[0]


def test_every_clients_own_model_is_measured_on_its_own_validation_samples(tmp_path: Path) -> None:
    run = federation(tmp_path, *OWN, "data.private_size=200", "data.client_validation=0.3")
    first = run.round(1)
    assert [row.model for row in first.clients] == ["cnn", "mlp", "mlp", "resnet8"]
    assert {row.test_accuracy for row in first.clients} == {None}
    last = run.round(2, probe=True)
    found = []
    for row in last.clients:
        model = run.experiment.initial_model(run.experiment.architecture_of(row.client))
        kept = torch.load(tmp_path / f"client_{row.client:06d}" / "round_00002.pt", weights_only=True)
        model.load_state_dict({name.removeprefix("model/"): value for name, value in kept.items()})
        data = run.experiment.data
        own = data.clients[row.client].validation
        found.append(accuracy(model, data.inputs[own], data.labels[own]))
        assert row.validation_accuracy == found[-1]
        assert row.test_accuracy == accuracy(model, data.test_inputs, data.test_labels)
    assert last.record.client_accuracy == pytest.approx(sum(found) / 4)


def rounds_of(experiment_json: str, state_dir: Path) -> tuple[list[RoundResult], str]:
    experiment = Experiment.of(experiment_json)
    server = Server.build(experiment, state_dir=str(state_dir))
    results = []
    with build_engine(experiment) as engine:
        for round in (1, 2):
            job = server.job(round, probe=round == 2)
            results.append(server.finish_round(job, engine.run(job, server.sampled(round))))
    assert server.rule.student is not None
    return results, parameter_digest(server.rule.student.state_dict())


@pytest.mark.parametrize("per_node", [1, 6])
def test_ray_gives_the_inline_engines_results_bit_for_bit(tmp_path: Path, per_node: int) -> None:
    delta = "{name: float32, compress: zlib, delta: true}"
    options = (
        *OWN,
        "clients.count=6",
        f"communication.uplink={delta}",
        f"communication.downlink={delta}",
        "strategy=personalised",
    )
    ray = ("engine.kind=ray", f"engine.clients_per_node={per_node}", "engine.workers=2")
    found = [
        rounds_of(to_json(load_config(SMALL, (*options, *engine))), tmp_path / str(len(engine))) for engine in ((), ray)
    ]
    (inline, student), (parallel, other) = found
    assert student == other
    for one, another in zip(inline, parallel, strict=True):
        assert not one.record.failures
        assert one.record == another.record
        assert one.clients == another.clients
    memories = [
        {
            path.relative_to(tmp_path / folder): torch.load(path, weights_only=True)
            for path in sorted((tmp_path / folder).rglob("*.pt"))
        }
        for folder in ("0", "3")
    ]
    assert memories[0].keys() == memories[1].keys()
    assert len(memories[0]) == 12
    for path, memory in memories[0].items():
        assert memory.keys() == memories[1][path].keys()
        for name, value in memory.items():
            assert torch.equal(value, memories[1][path][name]), (path, name)


def test_architectures_need_a_rule_under_which_clients_do_not_share_one() -> None:
    from fedkd.app.checks import check
    from fedkd.core.errors import ConfigError

    with pytest.raises(
        ConfigError, match=r"clients\.models: .*\(mlp\), got cnn, mlp, resnet8; .*clients\.rule=own_model"
    ):
        check(load_config(SMALL, [MODELS]))


def test_clients_csv_tells_what_each_client_cost_and_achieved(tmp_path: Path) -> None:
    from fedkd.app.run import run_experiment

    run_experiment(
        load_config(SMALL, [*OWN, "rounds=2", "data.private_size=200", "clients.measure_test=true"]), tmp_path / "run"
    )
    with (tmp_path / "run" / "clients.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["round"], row["client"], row["model"]) for row in rows] == [
        (str(round), str(client), model)
        for round in (1, 2)
        for client, model in enumerate(("cnn", "mlp", "mlp", "resnet8"))
    ]
    assert {row["up_logits"] for row in rows} == {"1601"}
    assert [row["down_logits"] for row in rows] == ["0"] * 4 + ["1601"] * 4
    assert {row["down_parameters"] for row in rows} == {"0"}
    assert [bool(row["test_accuracy"]) for row in rows] == [False] * 4 + [True] * 4
    assert all(0 <= float(row["validation_accuracy"]) <= 1 for row in rows)
