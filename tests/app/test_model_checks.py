"""Architectures are tried out when an experiment is checked: once, all together, and before anything is written."""

from pathlib import Path

import pytest

from fedkd.app.checks import check
from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from fedkd.results.observer import Silent
from tests.support.federations import SMALL

OWN = "tests.support.own_models:Own"


def own(key: str, *nets: str) -> str:
    specs = [f"{{name: '{OWN}', net: {net}}}" for net in nets]
    return f"{key}={specs[0]}" if len(specs) == 1 else f"{key}=[{', '.join(specs)}]"


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        check(load_config(SMALL, overrides))
    return caught.value.problems


def test_every_faulty_architecture_is_told_once_and_nothing_is_written(tmp_path: Path) -> None:
    overrides = (
        own("student.model", "two_outputs"),
        own("clients.models", "larger_images", "raises", "larger_images", "prelu"),
        "clients.rule=own_model",
    )
    told = problems(*overrides)
    assert [problem.partition(":")[0] for problem in told] == ["student.model", "clients.models", "clients.models"]
    for problem, word in zip(told, ("got a tuple", "4608x10", "KeyError: 'five'"), strict=True):
        assert word in problem
    with pytest.raises(ConfigError):
        run_experiment(load_config(SMALL, overrides), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["clients.batch_size=1"], ["clients.batch_size: must be at least 2", "got 1"]),
        (["distillation.batch_size=1"], ["distillation.batch_size: must be at least 2"]),
        (["distillation.labelled_batch_size=1"], ["distillation.labelled_batch_size: must be at least 2"]),
        (
            ["data.public.labelled=1", "data.public.validation=0", "strategy=mean_logits"],
            ["data.public.labelled: must leave more than one", "got 1"],
        ),
        (
            ["data.private_size=5", "data.client_validation=0", "data.partition.min_samples=1"],
            ["clients: ", "(counted from 0) would train on one sample"],
        ),
    ],
)
def test_batch_normalisation_is_not_given_single_samples(overrides: list[str], words: list[str]) -> None:
    partition = "data.partition.scheme=iid"
    (told,) = problems(own("student.model", "normalised"), partition, *overrides)
    for word in [*words, "single sample", "norm: group"]:
        assert word in told
    # To all others one sample is as good as two.
    check(load_config(SMALL, [own("student.model", "prelu"), partition, *overrides]))


def test_private_training_refuses_unused_parameters_and_others_are_told_of_them(tmp_path: Path) -> None:
    class Reading(Silent):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def noticed(self, text: str) -> None:
            self.texts.append(text)

    private = "privacy.mechanism={name: dp_sgd, noise_multiplier: 1}"
    (told,) = problems(own("student.model", "unused"), private)
    assert "forgotten.weight have no influence" in told
    reader = Reading()
    run_experiment(load_config(SMALL, [own("student.model", "unused"), "rounds=1"]), tmp_path / "run", reader)
    (text,) = reader.texts
    assert "forgotten.weight have no influence" in text


@pytest.mark.parametrize("net", ["view", "attention", "lstm", "normalised"])
def test_own_models_train(net: str, tmp_path: Path) -> None:
    overrides = [own("student.model", net), "rounds=1", "clients.batch_size=17", "data.partition.scheme=iid"]
    summary = run_experiment(load_config(SMALL, overrides), tmp_path / "run").summary
    assert summary.failures == 0


@pytest.mark.parametrize("net", ["tied", "functional_head", "view", "prelu"])
def test_own_models_train_privately(net: str, tmp_path: Path) -> None:
    private = "privacy.mechanism={name: dp_sgd, noise_multiplier: 1}"
    summary = run_experiment(
        load_config(SMALL, [own("student.model", net), "rounds=1", private]), tmp_path / "run"
    ).summary
    assert summary.failures == 0
