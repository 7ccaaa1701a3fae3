"""Changes on the command line: their order makes no difference, and what contradicts itself is refused."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.config.load import load_config
from fedkd.config.overrides import parse_overrides
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError

CHANGES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "an option and the name it belongs to": (
        ("strategy.trim=2", "strategy.name=trimmed_mean"),
        {"strategy": Plugin("trimmed_mean", {"trim": 2})},
    ),
    "a section and a key in it": (
        ("strategy.trim=2", "strategy=trimmed_mean", "rounds=2"),
        {"strategy": Plugin("trimmed_mean", {"trim": 2}), "rounds": 2},
    ),
    "a mapping and a key beside": (
        ("strategy.folds=3", "strategy={ridge: 0.5}", "strategy.name=stacked"),
        {"strategy": Plugin("stacked", {"ridge": 0.5, "folds": 3})},
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_the_order_of_changes_makes_no_difference(case: str) -> None:
    overrides, expected = CHANGES[case]
    for order in itertools.permutations(overrides):
        config = load_config({"strategy": {"name": "stacked", "cross_fit": True}}, order)
        assert {key: getattr(config, key) for key in expected} == expected


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "a key that is set twice": (("rounds=2", "rounds=3"), "rounds: is set twice, to 2 and 3"),
    "a key that is set by its section": (
        ("strategy=median", "strategy.name=stacked"),
        "strategy.name: is set by strategy too, to 'median'",
    ),
    "a key below one that is unset": (
        ("privacy.secure_aggregation=null", "privacy.secure_aggregation.bits=8"),
        "privacy.secure_aggregation.bits: is set by privacy.secure_aggregation too, to None",
    ),
    "a key below a key": (("clients={count: 3}", "clients.count=4"), "clients.count: is set by clients too, to 3"),
    "no value": (("data.private_size=",), "data.private_size: has no value"),
    "a blank value": (("rounds= ",), "rounds: has no value"),
    "a comment for a value": (("data.root=#1",), "data.root: '#1' is not valid YAML .*comment"),
    "a comment after a value": (("data.root=a #1",), "data.root: 'a #1' is not valid YAML .*comment"),
    "a document for a value": (("data.root=---",), "data.root: '---' is not valid YAML .*no value"),
    "no equals sign": (("rounds",), "'rounds': an override is written key.path=value"),
    "no key": (("=3",), "'=3': an override is written key.path=value"),
    "a dot too many": (("clients..count=3",), r"'clients\.\.count': a key is written with dots"),
    "a dot at the end": (("clients.count.=3",), r"'clients\.count\.': a key is written with dots"),
    "a dot at the start": ((".rounds=3",), r"'\.rounds': a key is written with dots"),
    "a space in a key": (("rounds =3",), "'rounds ': a key is written with dots"),
    "a line break in a key": (("a\nb=3",), r"'a\\nb': a key is written with dots"),
    "an item of a list": (
        ("clients.models.0=mlp",),
        r"clients\.models\.0: clients\.models is a list, .* give it whole: clients\.models=",
    ),
    "a key of another section": (("epochs=3",), "epochs: unknown key, got 3; did you mean 'clients.epochs'"),
    "a list without brackets": (("controls=fedavg,public_only",), r"write a list: controls=\[fedavg,public_only\]"),
    "models without brackets": (("clients.models=cnn,mlp",), r"write a list: clients\.models=\[cnn,mlp\]"),
    "a value of another case": (("engine.kind=Inlin",), "engine.kind: .* did you mean 'inline'"),
    "bytes that are no text": (("data.root=\udcff",), "data.root"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_change_is_refused_with_a_clear_word(case: str) -> None:
    overrides, message = BAD[case]
    with pytest.raises(ConfigError, match=message) as refusal:
        load_config({"clients": {"models": ["cnn"]}}, overrides)
    assert len(refusal.value.problems) == 1


def test_all_bad_changes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_overrides(["rounds", "a..b=1", "rounds=1", "rounds=2", "seed="])
    assert len(refusal.value.problems) == 4


KEYS = st.sampled_from(
    [
        "rounds",
        "seed",
        "strategy",
        "strategy.name",
        "strategy.trim",
        "clients",
        "clients.models",
        "clients.models.0",
        "data.root",
        "controls",
        "distillation.temperature",
        "distillation.temperature.value",
        "privacy.secure_aggregation",
        "privacy.audit.attacks",
        "engine.resources.cnn.threads",
        "data.public.dataset.name",
        "",
        ".",
        "x\0",
        "\x1b",
    ]
)
TEXTS = st.sampled_from(
    [
        "null",
        "1",
        "-1",
        "1e3",
        "true",
        "yes",
        "[]",
        "{}",
        "[[]]",
        "{name: 1}",
        "{name: [x]}",
        "{: 1}",
        "[a, {b: c}]",
        "mlp",
        "a:b",
        ":",
        "../../x:Y",
        ".nan",
        ".inf",
        "'",
        "*a",
        "!x y",
        "{name: stacked, ridge: .nan}",
        "999999999999999999999999",
    ]
)


@given(st.lists(st.tuples(KEYS, TEXTS | st.text(max_size=8)).map("=".join), max_size=4))
@settings(max_examples=200, deadline=None)
def test_any_changes_are_made_or_refused(overrides: list[str]) -> None:
    try:
        config = load_config({}, overrides)
    except ConfigError as refusal:
        problems = refusal.problems
    else:
        problems = ()
        assert load_config({}, overrides[::-1]) == config
    assert all(problem.isprintable() for problem in problems)
