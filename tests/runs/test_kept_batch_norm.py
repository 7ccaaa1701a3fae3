"""Clients that keep batch normalisation to themselves: what is theirs, what travels, what the server has instead."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedkd.app.checks import check
from fedkd.app.model_checks import model_remarks
from fedkd.client.context import ClientContext
from fedkd.config.load import load_config, to_json
from fedkd.core.errors import ConfigError
from fedkd.core.messages import parameter_digest
from fedkd.engines.building import build_engine
from fedkd.experiment import Experiment
from fedkd.models import accuracy
from fedkd.server.server import RoundResult, Server
from tests.support.federations import SMALL, Federation, experiment_of, federation
from tests.support.secure_rounds import SECURE, SIX, Wire, run_round

MODEL = "student.model=tests.support.own_models:normalised"
"""1 is linear, 2 normalises what it gives."""
STATISTICS = ("2.running_mean", "2.running_var", "2.num_batches_tracked")
AVERAGING = (MODEL, "clients.rule=parameters", "student.rule=average")
KEPT = {"statistics": STATISTICS, "all": ("2.weight", "2.bias", *STATISTICS)}


def remembered(folder: Path, client: int, round: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(folder / f"client_{client:06d}" / f"round_{round:05d}.pt", weights_only=True)
    return {name.removeprefix("batch_norm/"): value for name, value in found.items()}


def student_of(run: Federation) -> nn.Module:
    assert run.server.rule.student is not None
    return run.server.rule.student


def moments(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of what batch normalisation sees of one batch."""
    seen = model.get_submodule("1")(inputs.flatten(1)).detach()
    return seen.mean(dim=0), seen.var(dim=0)


def test_after_a_round_a_clients_statistics_are_those_of_its_data_and_nobody_elses_are_touched(tmp_path: Path) -> None:
    run = federation(tmp_path, *AVERAGING, "clients.keep_batch_norm=statistics", "clients.fraction=0.25")
    (client,) = run.experiment.sampled(1)
    run.round(1)
    data = run.experiment.data
    # One batch of all its samples: a tenth of its moments, on nine tenths of 0 and 1.
    mean, variance = moments(run.experiment.initial_model(), data.inputs[data.clients[client].train])
    found = remembered(tmp_path, client, 1)
    assert set(found) == set(STATISTICS)
    torch.testing.assert_close(found["2.running_mean"], 0.1 * mean)
    torch.testing.assert_close(found["2.running_var"], 0.9 + 0.1 * variance)
    assert [path.name for path in tmp_path.iterdir()] == [f"client_{client:06d}"]


@pytest.mark.parametrize("kept", KEPT)
def test_what_is_kept_does_not_travel_and_the_client_goes_on_from_it(tmp_path: Path, kept: str) -> None:
    run = federation(tmp_path, *AVERAGING, f"clients.keep_batch_norm={kept}")
    job, replies = run.ask(1)
    for reply in replies:
        assert {name.split("/")[-1] for name in reply.arrays} == {*student_of(run).state_dict()} - {*KEPT[kept]}
    before = {reply.client: remembered(tmp_path, reply.client, 1) for reply in replies}
    assert all(set(each) == set(KEPT[kept]) for each in before.values())
    run.server.finish_round(job, replies)
    averaged = copy.deepcopy(student_of(run))
    run.round(2)
    data = run.experiment.data
    for client, own in before.items():
        now = remembered(tmp_path, client, 2)
        # One more batch through the averaged first layer, on nine tenths of its own statistics.
        mean, variance = moments(averaged, data.inputs[data.clients[client].train])
        torch.testing.assert_close(now["2.running_mean"], 0.9 * own["2.running_mean"] + 0.1 * mean)
        torch.testing.assert_close(now["2.running_var"], 0.9 * own["2.running_var"] + 0.1 * variance)
    one, other = (remembered(tmp_path, client, 2)["2.running_mean"] for client in (0, 1))
    assert not torch.equal(one, other)


def test_client_starts_from_the_servers_model_but_for_what_it_kept(tmp_path: Path) -> None:
    run = federation(tmp_path, *AVERAGING, "clients.keep_batch_norm=all")
    run.round(1)
    job, labels = run.server.job(2), run.experiment.data.labels[run.experiment.data.clients[3].train]
    memory = {f"batch_norm/{name}": value for name, value in remembered(tmp_path, 3, 1).items()}
    queries = run.experiment.data.public.inputs
    found = ClientContext(run.experiment, 3, 2, job.parameters, queries, labels, memory=memory).received_model()
    expected = student_of(run).state_dict() | remembered(tmp_path, 3, 1)
    assert parameter_digest(found.state_dict()) == parameter_digest(expected)
    # Before its first round, it has nothing of its own.
    fresh = ClientContext(run.experiment, 3, 2, job.parameters, queries, labels).received_model()
    assert parameter_digest(fresh.state_dict()) == parameter_digest(student_of(run).state_dict())


def test_servers_model_has_statistics_of_the_public_samples(tmp_path: Path) -> None:
    run = federation(tmp_path, *AVERAGING, "clients.keep_batch_norm=all")
    result = run.round(1)
    student, data = student_of(run), run.experiment.data
    seen = student.get_submodule("1")(data.public.inputs.flatten(1)).detach()
    torch.testing.assert_close(student.get_buffer("2.running_mean"), seen.mean(dim=0))
    torch.testing.assert_close(student.get_buffer("2.running_var"), seen.var(dim=0))
    assert torch.equal(student.get_parameter("2.weight"), torch.ones(8))
    assert student.get_submodule("2").momentum == 0.1
    assert result.record.student_accuracy == accuracy(student, data.test_inputs, data.test_labels)
    (remark,) = model_remarks(run.experiment)
    assert "γ, β and statistics that no client uses" in remark
    assert model_remarks(experiment_of(MODEL, "clients.keep_batch_norm=all")) == []


def test_without_public_samples_the_servers_statistics_stay(tmp_path: Path) -> None:
    run = federation(
        tmp_path,
        *AVERAGING,
        "clients.keep_batch_norm=all",
        "data.public.size=0",
        "data.public.labelled=0",
        "data.transform=none",
    )
    assert run.round(1).record.failures == ()
    assert torch.equal(student_of(run).get_buffer("2.running_mean"), torch.zeros(8))


def test_statistics_matter_to_answers_and_only_scale_and_shift_to_training(tmp_path: Path) -> None:
    """In training mode the layers do not look at them: kept or not, clients send the same weights."""
    for rule, name in ((AVERAGING, "parameters/0/1.weight"), ((MODEL,), "logits")):
        sent = {}
        for kept in ("none", *KEPT):
            run = federation(tmp_path / f"{len(rule)}{kept}", *rule, f"clients.keep_batch_norm={kept}")
            run.round(1)
            sent[kept] = run.ask(2)[1][0].arrays[name]
        assert np.array_equal(sent["statistics"], sent["none"]) == (rule == AVERAGING)
        assert not np.array_equal(sent["all"], sent["none"])


def results(options: tuple[str, ...], folder: Path) -> tuple[list[RoundResult], dict[str, str]]:
    """Three rounds, and the digests of what everybody has at their end."""
    experiment = Experiment.of(to_json(load_config(SMALL, options)))
    server = Server.build(experiment, state_dir=str(folder))
    found = []
    with build_engine(experiment) as engine:
        for round in (1, 2, 3):
            job = server.job(round, probe=round == 3)
            found.append(server.finish_round(job, engine.run(job, server.sampled(round))))
    assert server.rule.student is not None
    digests = {
        str(path.relative_to(folder)): parameter_digest(torch.load(path, weights_only=True))
        for path in sorted(folder.rglob("*.pt"))
    }
    return found, digests | {"student": parameter_digest(server.rule.student.state_dict())}


@pytest.mark.parametrize("rule", [AVERAGING, (MODEL,)], ids=["parameters", "broadcast"])
def test_ray_gives_the_inline_engines_results_bit_for_bit(tmp_path: Path, rule: tuple[str, ...]) -> None:
    options = (*rule, "clients.keep_batch_norm=all", "clients.fraction=0.5", "clients.self_distillation=1")
    inline, at_home = results(options, tmp_path / "inline")
    parallel, elsewhere = results((*options, "engine.kind=ray", "engine.workers=2"), tmp_path / "ray")
    assert at_home == elsewhere
    assert len(at_home) > 5
    for one, other in zip(inline, parallel, strict=True):
        assert (one.record, one.clients) == (other.record, other.clients)


def test_under_secure_aggregation_clients_keep_it_and_the_server_gets_masked_sums_alone(tmp_path: Path) -> None:
    open_run = federation(tmp_path / "open", SIX, MODEL, "clients.keep_batch_norm=all")
    secure = federation(tmp_path / "secure", SIX, MODEL, SECURE, "clients.keep_batch_norm=all")
    wire = Wire(secure.engine())
    open_run.round(1), run_round(secure, 1, wire)
    for client in range(6):
        kept, expected = (remembered(tmp_path / name, client, 1) for name in ("secure", "open"))
        assert {name: value.tolist() for name, value in kept.items()} == {
            name: value.tolist() for name, value in expected.items()
        }
    assert not any("2.running_mean" in name for _, reply in wire.replies for name in reply.arrays)


BAD = {
    "a rule with a model of its own": (
        (MODEL, "clients.rule=own_model"),
        "clients.keep_batch_norm: clients with clients.rule own_model do not start from the server's model, got all",
    ),
    "a server that needs whole models": (
        (MODEL, "clients.rule=parameters", "student.rule=average_and_distil"),
        "student.rule average_and_distil needs the clients' whole models",
    ),
    "a model without": ((), r"the clients' model \(mlp\) has no batch normalisation to keep, got all"),
    "noise that batch statistics have no place for": (
        (MODEL, "privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}"),
        "DP-SGD cannot train BatchNorm1d",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_it_does_not_go_with_is_told(case: str) -> None:
    overrides, words = BAD[case]
    with pytest.raises(ConfigError, match=words):
        check(load_config(SMALL, [*overrides, "clients.keep_batch_norm=all"]))
