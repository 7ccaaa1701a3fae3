"""Rules between keys: shares that make nobody are refused with the least that makes one."""

import re

import pytest

from fedkd.config.load import load_config
from fedkd.config.rounding import attacker_count, held_out_count
from fedkd.core.errors import ConfigError


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config({}, overrides)
    (problem,) = refused.value.problems
    return problem


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 8, 13, 49, 50, 99, 333, 1000, 12345])
def test_a_share_without_an_attacker_is_refused_with_the_least_that_makes_one(count: int) -> None:
    problem = refusal(f"clients.count={count}", f"clients.attackers.share={0.499 / count}")
    assert problem.startswith("clients.attackers.share: ")
    found = re.search("raise it to ([0-9.]+) or more", problem)
    assert found is not None
    assert 0.5 / count <= float(found[1]) < 0.506 / count
    config = load_config({}, [f"clients.count={count}", f"clients.attackers.share={found[1]}"])
    assert attacker_count(config.clients) == 1


def test_changes_to_public_samples_and_labels_need_some() -> None:
    none = ("data.public.labelled=0", "data.public.validation=0")
    assert refusal(*none, "data.public.label_noise=0.1").startswith("data.public.label_noise: makes labels wrong that")
    assert "0.001 of 100 labels makes, rounded, none wrong; raise it above 0.005" in refusal(
        "data.public.label_noise=0.001"
    )
    empty = refusal(*none, "data.public.size=0", "data.public.corruption.invert=true")
    assert empty.startswith("data.public.corruption: changes public samples, and data.public.size is 0")


def test_validation_samples_that_are_asked_for_are_there() -> None:
    problem = refusal("data.public.labelled=100", "data.public.validation=0.004")
    assert "0.004 of 100 labelled samples makes, rounded, no validation sample; raise it above 0.005" in problem
    assert "one stays for training" in refusal("data.public.labelled=1")
    for labelled, validation in ((1, 0), (100, 0), (0, 0.2), (100, 0.2)):
        config = load_config({}, [f"data.public.labelled={labelled}", f"data.public.validation={validation}"])
        assert held_out_count(config.data.public) == validation * labelled
