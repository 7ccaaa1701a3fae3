"""Configurations that say only in what they differ from another one."""

from pathlib import Path

import pytest

from fedkd.config.load import load_config, parse_config, to_json, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.shipped import config_path
from fedkd.config.strict_yaml import dump_yaml, parse_yaml
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError

BASE = """
seed: 5
rounds: 7
data:
  partition: {scheme: dirichlet, alpha: 0.2}
clients:
  count: 6
  models: [cnn, mlp]
  rule: own_model
strategy: {name: stacked, ridge: 0.5}
distillation:
  steps: 9
  temperature: {name: linear, start: 4, end: 1}
  balancer: {name: fixed, value: 0.25}
"""


def load(folder: Path, text: str, *overrides: str, base: str = BASE) -> ExperimentConfig:
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    (folder / "child.yaml").write_text(f"extends: base.yaml\n{text}", encoding="utf-8")
    return load_config(folder / "child.yaml", overrides)


def test_what_is_not_said_is_as_in_the_other_file(tmp_path: Path) -> None:
    config = load(tmp_path, "rounds: 3\ndata: {partition: {alpha: 0.9}}\nclients: {models: [lenet5]}\n")
    assert (config.seed, config.rounds, config.clients.count) == (5, 3, 6)
    assert (config.data.partition.alpha, config.data.partition.scheme) == (0.9, "dirichlet")
    # A list is replaced, not appended to.
    assert config.clients.models == (Plugin("lenet5"),)
    assert load(tmp_path, "") == load_config(tmp_path / "base.yaml")


@pytest.mark.parametrize(
    ("text", "teacher"),
    [
        ("strategy: {ridge: 2.0}", Plugin("stacked", {"ridge": 2.0})),
        ("strategy: {folds: 4}", Plugin("stacked", {"ridge": 0.5, "folds": 4})),
        ("strategy: {name: stacked, folds: 4}", Plugin("stacked", {"ridge": 0.5, "folds": 4})),
        ("strategy: stacked", Plugin("stacked", {"ridge": 0.5})),
        ("strategy: median", Plugin("median")),
        ("strategy: {name: trimmed_mean, trim: 1}", Plugin("trimmed_mean", {"trim": 1})),
    ],
)
def test_a_plug_in_under_another_name_drops_the_others_options(tmp_path: Path, text: str, teacher: Plugin) -> None:
    assert load(tmp_path, text).strategy == teacher


def test_plug_ins_within_sections_and_short_forms(tmp_path: Path) -> None:
    config = load(
        tmp_path, "distillation: {temperature: 2.0, balancer: {name: step}}\nclients: {rule: {digest_epochs: 3}}"
    )
    assert config.distillation.temperature == Plugin("constant", {"value": 2.0})
    assert config.distillation.balancer == Plugin("step")
    assert config.distillation.steps == 9
    assert config.clients.rule == Plugin("own_model", {"digest_epochs": 3})
    other = load(
        tmp_path, "distillation: {temperature: {name: linear, start: 4, end: 2}}", base="distillation: {temperature: 3}"
    )
    assert other.distillation.temperature == Plugin("linear", {"start": 4, "end": 2})


def test_files_extend_files_that_extend_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "first.yaml").write_text("seed: 1\nrounds: 1\nclients: {count: 3, epochs: 2}")
    (tmp_path / "second.yaml").write_text("extends: first.yaml\nrounds: 2\nclients: {count: 4}")
    (tmp_path / "deep" / "third.yaml").write_text("extends: ../second.yaml\nclients: {batch_size: 8}")
    config = load_config(tmp_path / "deep" / "third.yaml")
    assert (config.seed, config.rounds) == (1, 2)
    assert (config.clients.count, config.clients.epochs, config.clients.batch_size) == (4, 2, 8)


def test_overrides_come_last(tmp_path: Path) -> None:
    config = load(tmp_path, "rounds: 3", "rounds=4", "strategy.ridge=0.125", "seed=6")
    assert (config.rounds, config.seed) == (4, 6)
    assert config.strategy == Plugin("stacked", {"ridge": 0.125})


@pytest.mark.parametrize(
    ("overrides", "teacher"),
    [
        (("strategy.name=trimmed_mean", "strategy.trim=1"), Plugin("trimmed_mean", {"trim": 1})),
        (("strategy.name=median",), Plugin("median")),
        (("strategy=median",), Plugin("median")),
        (("strategy.name=stacked",), Plugin("stacked", {"ridge": 0.5})),
    ],
)
def test_an_override_to_another_plug_in_drops_the_others_options(
    tmp_path: Path, overrides: tuple[str, ...], teacher: Plugin
) -> None:
    assert load(tmp_path, "", *overrides).strategy == teacher


def test_a_shipped_configuration_can_be_extended_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: fashion_mnist\nrounds: 1")
    mine, shipped = load_config(tmp_path / "mine.yaml"), load_config(config_path("fashion_mnist"))
    assert mine.rounds == 1
    assert mine.data == shipped.data


def test_a_resolved_configuration_stands_alone(tmp_path: Path) -> None:
    config = load(tmp_path, "rounds: 3")
    mapping = to_mapping(config)
    assert "extends" not in mapping
    assert "extends" not in to_json(config)
    assert parse_config(parse_yaml(dump_yaml(mapping))) == config


@pytest.mark.parametrize("name", ["child.yaml", "other.yaml"])
def test_a_circle_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "child.yaml").write_text(f"extends: {name}")
    (tmp_path / "other.yaml").write_text("extends: child.yaml")
    with pytest.raises(ConfigError, match=r"extends: child\.yaml leads back to itself"):
        load_config(tmp_path / "child.yaml")


def test_a_missing_file_and_a_name_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "child.yaml").write_text("extends: nobody.yaml")
    with pytest.raises(ConfigError, match=r"nobody\.yaml: no such file"):
        load_config(tmp_path / "child.yaml")
    (tmp_path / "child.yaml").write_text("extends: [a, b]")
    with pytest.raises(ConfigError, match=r"extends: must be the name of a YAML file, got \['a', 'b'\]"):
        load_config(tmp_path / "child.yaml")


def test_faults_of_both_files_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "rounds: 0\nstrategy: {name: nobody}", base="seed: -1\nsed: 2")
    assert {problem.split(":")[0] for problem in caught.value.problems} == {"rounds", "strategy.name", "seed", "sed"}
