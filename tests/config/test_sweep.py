"""The cells of a sweep: how a grid is read, what the cells are called, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkd.config.load import load_config
from fedkd.config.sweep import CellFaults, cells_of, folder_name, parse_grid, parse_seeds
from fedkd.core.errors import ConfigError

BASE: dict[str, Any] = {"strategy": "stacked"}


def test_values_are_yaml_and_brackets_hold_commas_together() -> None:
    grid = parse_grid(["clients.models=[cnn,mlp],[mlp]", "data.partition.alpha=0.10,1", "a=null,{name: x, y: 1},m:C"])
    assert grid == {
        "clients.models": (["cnn", "mlp"], ["mlp"]),
        "data.partition.alpha": (0.1, 1),
        "a": (None, {"name": "x", "y": 1}, "m:C"),
    }


@pytest.mark.parametrize("text", ["strategy.name", "strategy.name=", "=a,b", "a=[b", "a=b],[c", "a=b,,c"])
def test_what_is_no_list_of_values_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--grid"):
        parse_grid([text])


def test_all_faults_of_a_grid_are_named() -> None:
    with pytest.raises(ConfigError) as found:
        parse_grid(["a=[", "rounds=1,2", "rounds=3", "nothing"])
    assert len(found.value.problems) == 3


@pytest.mark.parametrize("text", ["1,x", "0-9", "1_0", "-1", "+1", "1.0", "", ",", "1,,2", "\u0661", "9" * 20, "true"])
def test_what_is_no_list_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--seeds: must be whole numbers from 0 on, got .*; write each of them"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("grid", "seeds", "words"),
    [
        ({"rounds": 5}, (), "--grid rounds: must be a list of values, got 5"),
        ({"strategy.name": "stacked"}, (), "--grid strategy.name: must be a list of values, got 'stacked'"),
        ({"rounds": {1, 2}}, (), "--grid rounds: must be a list of values"),
        ({"rounds..x": (1, 2)}, (), "a key is written with dots"),
        ([("rounds", 1)], (), "--grid: must map keys to lists"),
        ({}, 3, "--seeds: must be a list of values, got 3"),
        ({}, range(10**9), "--grid: must give at most 10,000 cells, got 1,000,000,000"),
        ({"seed.x": (1,)}, (1.5,), "seed: input should be a valid integer, got 1.5"),
    ],
)
def test_a_grid_of_another_kind_is_refused(grid: Any, seeds: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        cells_of(BASE, grid, seeds)[1].check()


def test_arrays_are_lists_of_values() -> None:
    grid: Any = {"data.partition.alpha": np.array([0.5, 1.0])}
    cells, _ = cells_of(BASE, grid, range(2))
    found = [(cell.config.data.partition.alpha, cell.config.seed) for cell in cells]
    assert found == [(0.5, 0), (0.5, 1), (1.0, 0), (1.0, 1)]


def test_seeds_are_whole_numbers() -> None:
    assert parse_seeds("3,0,12") == (3, 0, 12)


def test_every_combination_is_the_configuration_that_run_would_make_of_it() -> None:
    grid = {"strategy.name": ("stacked", "median"), "rounds": (1, 2)}
    cells, _ = cells_of(BASE, grid, (0, 7), ["clients.count=3"])
    assert [cell.name for cell in cells][:3] == [
        "strategy.name=stacked,rounds=1,seed=0",
        "strategy.name=stacked,rounds=1,seed=7",
        "strategy.name=stacked,rounds=2,seed=0",
    ]
    assert len(cells) == 8
    for cell in cells:
        overrides = ["clients.count=3", *cell.name.split(",")]
        assert cell.config == load_config(BASE, overrides)


def test_without_seeds_the_configurations_own_is_used_and_named() -> None:
    (cell,), _ = cells_of(BASE | {"seed": 5}, {"rounds": (2,)})
    assert (cell.name, cell.config.seed) == ("rounds=2,seed=5", 5)


def test_names_come_before_options_whatever_the_order() -> None:
    # An option of a teacher that is named beside it must not be lost, wherever either is given.
    cells, _ = cells_of({"strategy": "median"}, {"strategy.folds": (3, 5)}, (0,), ["strategy.name=stacked"])
    assert [cell.config.strategy.options for cell in cells] == [{"folds": 3}, {"folds": 5}]


@pytest.mark.parametrize(
    ("grid", "seeds", "overrides", "word"),
    [
        ({}, (), (), "nothing to sweep over"),
        ({"seed": (0, 1)}, (), (), "--seeds 0,1,2"),
        ({"rounds": ()}, (), (), "at least one value"),
        ({"rounds": (1, 2, 1)}, (), (), "1 twice"),
        ({"rounds": (1, 2)}, (4, 4), (), "4 twice"),
        ({"rounds": (1, 2)}, (), ("rounds=3",), "swept over by --grid rounds"),
        ({"strategy.name": ("stacked", "era")}, (), ("strategy=median",), "swept over by --grid strategy.name"),
        ({}, (0, 1), ("seed=3",), "swept over by --seeds"),
        ({"strategy": ("median", {"name": "median"})}, (), (), "the same experiment"),
        ({"rounds": (1, 2)}, (), ("rounds",), "key.path=value"),
    ],
)
def test_a_sweep_that_contradicts_itself_is_refused(
    grid: dict[str, Any], seeds: tuple[int, ...], overrides: tuple[str, ...], word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        cells_of(BASE, grid, seeds, overrides)


def test_a_fault_is_shown_once_with_the_cells_that_have_it() -> None:
    grid = {"strategy.name": ("stacked", "nobody"), "rounds": (0, 1)}
    cells, faults = cells_of(BASE, grid, (0, 1), ["clients.cuont=2"])
    assert not cells
    with pytest.raises(ConfigError) as found:
        faults.check()
    everywhere, rounds, teacher = sorted(found.value.problems)
    assert everywhere.startswith("clients.cuont: unknown key")
    assert "[in" not in everywhere
    assert rounds.startswith("rounds: ")
    assert rounds.endswith(
        "[in strategy.name=stacked,rounds=0,seed=0; strategy.name=stacked,rounds=0,seed=1; "
        "strategy.name=nobody,rounds=0,seed=0 and 1 more]"
    )
    assert "nobody" in teacher


def test_no_fault_is_no_error() -> None:
    CellFaults(3).check()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_any_value_gives_a_name_fit_for_a_file_system(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    name = folder_name({"strategy.name": value, "seed": 0})
    assert name == Path(name).name
    assert len(name.encode()) <= 200
    assert not set(name) & set("/\\:*?\"<>| '\n\0")
    (tmp_path_factory.getbasetemp() / name).mkdir(exist_ok=True)


@given(st.text(), st.text())
def test_other_texts_give_other_names(one: str, other: str) -> None:
    assert (folder_name({"a": one}) == folder_name({"a": other})) == (one == other)
