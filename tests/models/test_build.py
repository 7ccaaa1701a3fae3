"""What a model starts from: drawn from the generator alone, or refused."""

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

from fedkd.config.values import Plugin
from fedkd.core.errors import PluginError
from fedkd.core.samples import SampleSpec
from fedkd.models import build_model
from tests.support import own_models

OWN = "tests.support.own_models:Own"


def build(net: str, seed: int = 0) -> nn.Module:
    return build_model(Plugin(OWN, {"net": net}), SampleSpec((1, 8, 8)), 4, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("net", ["embedding", "attention", "lstm", "prelu", "weight_normed", "tied", "own_parameters"])
def test_own_layers_are_drawn_by_themselves_from_the_generator_alone(net: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build(net).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again, other = build(net).state_dict(), build(net, seed=1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    # All but what begins at one number.
    varied = [key for key, value in first.items() if not torch.equal(value, value.flatten()[0].expand_as(value))]
    assert varied
    assert not any(torch.equal(first[key], other[key]) for key in varied)


def test_layers_that_are_known_are_drawn_as_ever() -> None:
    with_table = build("embedding").get_parameter("head.weight")
    # The generator goes to them alone, whatever else the model draws.
    expected = torch.empty(4, 5)
    nn.init.kaiming_normal_(expected, nonlinearity="linear", generator=torch.Generator().manual_seed(0))
    assert torch.equal(with_table, expected)
    assert not build("embedding").get_parameter("head.bias").any()


def test_parameters_set_to_one_number_are_kept() -> None:
    model = build("constants")
    values = {
        "scale": 1e-3,
        "token": 0.0,
        "temperature": 2.5,
        "head.weight": 0.0,
        "head.bias": -4.6,
        "norm.weight": 0.0,
    }
    for name, value in values.items():
        assert torch.equal(model.get_parameter(name), torch.full_like(model.get_parameter(name), value)), name


@pytest.mark.parametrize(
    ("net", "words"),
    [
        ("loaded", ["0.1.weight", "same whatever the seed", "drawn anew"]),
        ("filled", ["0.1.weight"]),
        ("loaded_table", ["table.weight"]),
        ("frozen", ["0.1.weight, 0.1.bias are frozen", "buffer"]),
        ("seeded", ["1.weight, 1.bias", "torch.manual_seed"]),
    ],
)
def test_what_drawing_anew_would_lose_is_refused_by_name(net: str, words: list[str]) -> None:
    with pytest.raises(PluginError, match="own_models:Own") as caught:
        build(net)
    for word in words:
        assert word in str(caught.value)


def test_what_build_does_wrong_is_told_with_the_line() -> None:
    lines, first = inspect.getsourcelines(own_models.raises)
    assert len(lines) == 2
    file = Path(own_models.__file__)
    with pytest.raises(PluginError, match=rf"build.* ended with an error: {file}, line {first + 1}: KeyError: 'five'"):
        build("raises")
    with pytest.raises(PluginError, match=r"must return a torch.nn.Module, got dict"):
        build("no_module")
    with pytest.raises(PluginError, match=r"1.weight, 1.bias have no size.*Linear instead of LazyLinear"):
        build("lazy")
