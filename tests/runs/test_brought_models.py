"""Networks that were not written for fedkd, in whole runs: frozen, pretrained, recurrent ones, transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from fedkd.experiment import Experiment
from fedkd.results.records import Summary
from tests.support import own_networks
from tests.support.federations import SMALL, federation
from tests.support.own_networks import PRETRAINED, letters, pretrained, zoo


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def inline(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """A run with networks of every kind in one process: its folder and its summary."""
    folder = tmp_path_factory.mktemp("inline") / "run"
    return folder, run(zoo(weights), folder)


def run(config: dict[str, Any], folder: Path, *overrides: str) -> Summary:
    return run_experiment(load_config(config, overrides), folder).summary


def frozen(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith("network.fc.")}


def test_a_frozen_pretrained_student_learns_by_its_head_alone(weights: Path) -> None:
    student = f"{{name: '{PRETRAINED}', weights: {weights}, freeze: true}}"
    shared = federation(None, f"student.model={student}")
    averaged = federation(
        None, f"student.model={student}", "clients.rule=parameters", "student.rule=average", "clients.fraction=0.75"
    )
    expected = {f"network.{key}": value for key, value in torch.load(weights, weights_only=True).items()}
    for each in (shared, averaged):
        assert not any(result.record.failures for result in each.rounds(2))
        assert each.server.rule.student is not None
        state = each.server.rule.student.state_dict()
        start = each.experiment.initial_model().state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in frozen(state).items())
        assert state["network.fc.weight"].shape == (10, 1024)
        assert not torch.equal(state["network.fc.weight"], start["network.fc.weight"])
    assert shared.experiment.parameter_counts == (1024 * 10 + 10,)


def test_clients_with_networks_of_every_kind_train_what_is_to_be_trained(
    weights: Path, inline: tuple[Path, Summary]
) -> None:
    folder, summary = inline
    assert summary.failures == 0
    experiment = Experiment.of(load_config(zoo(weights)))
    for client in range(6):
        kept = torch.load(folder / "client_state" / f"client_{client:06d}" / "round_00002.pt")
        start = dict(experiment.initial_model(experiment.architecture_of(client)).named_parameters())
        moved = {key: not torch.equal(kept[f"model/{key}"], value) for key, value in start.items()}
        assert moved == {key: value.requires_grad for key, value in start.items()}


def test_ray_ends_with_the_same_student(weights: Path, inline: tuple[Path, Summary], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    ray = run(zoo(weights), tmp_path / "ray", "engine.kind=ray", "engine.workers=2")
    assert (ray.student_sha256, ray.failures) == (inline[1].student_sha256, 0)


def test_dp_sgd_trains_the_head_of_a_pretrained_network(weights: Path, tmp_path: Path) -> None:
    student = f"{{name: '{PRETRAINED}', weights: {weights}, freeze: true}}"
    private = "privacy.mechanism={name: dp_sgd, target_epsilon: 6}"
    summary = run(SMALL, tmp_path / "run", f"student.model={student}", "rounds=1", private)
    assert summary.epsilon is not None
    assert 5.9 < summary.epsilon <= 6.0
    assert summary.failures == 0


def test_networks_for_texts_learn_and_are_trained_privately(tmp_path: Path) -> None:
    summary = run(letters(tmp_path), tmp_path / "run")
    assert summary.failures == 0
    assert summary.student_accuracy is not None
    assert summary.student_accuracy > 0.9
    gru = "clients.models=[{name: gru, width: 8}, {name: transformer, width: 8, depth: 1}]"
    private = (gru, "rounds=1", "clients.epochs=1", "privacy.mechanism={name: dp_sgd, noise_multiplier: 1}")
    noisy = run(letters(tmp_path), tmp_path / "noisy", *private)
    assert noisy.epsilon is not None
    assert noisy.failures == 0
    with pytest.raises(ConfigError, match=r"clients\.models: .*Words: DP-SGD cannot train GRU \(states\)"):
        run(letters(tmp_path), tmp_path / "refused", *private[1:])


@pytest.mark.parametrize("name", ["gru", "transformer", f"{own_networks.__name__}:Tied"])
def test_networks_for_texts_are_averaged_and_trained_as_one_stack(name: str, tmp_path: Path) -> None:
    averaged = (
        "student.rule=average",
        "clients={count: 4, rule: parameters}",
        f"student.model={{name: '{name}', width: 8}}",
    )
    alone = run(letters(tmp_path), tmp_path / "alone", *averaged, "engine.vectorise=never")
    stacked = run(letters(tmp_path), tmp_path / "stacked", *averaged, "engine.vectorise=always")
    assert (alone.failures, stacked.failures) == (0, 0)
    assert stacked.student_accuracy == pytest.approx(alone.student_accuracy, abs=0.05)
