"""What a model starts from: what it draws, from the generator alone, and what it loads."""

import inspect
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from fedkd.config.values import Plugin
from fedkd.core.errors import PluginError
from fedkd.core.samples import SampleSpec
from fedkd.models import Architecture, build_model, profile, try_model
from tests.support import own_models

OWN = "tests.support.own_models:Own"
IMAGES = SampleSpec((1, 8, 8))


def build(net: str, seed: int = 0) -> nn.Module:
    return build_model(Plugin(OWN, {"net": net}), IMAGES, 4, torch.Generator().manual_seed(seed))


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


def test_shipped_networks_for_images_are_drawn_by_fedkd() -> None:
    for name in ("cnn", "mlp"):
        first = next(iter(build_model(Plugin(name), IMAGES, 4, torch.Generator().manual_seed(0)).parameters()))
        expected = torch.empty_like(first)
        nn.init.kaiming_normal_(expected, nonlinearity="relu", generator=torch.Generator().manual_seed(0))
        assert torch.equal(first, expected)


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


def test_loaded_weights_and_frozen_ones_are_kept() -> None:
    for net, name in (("loaded", "0.1.weight"), ("loaded_table", "table.weight")):
        expected = getattr(own_models, net)().get_parameter(name)
        assert torch.equal(build(net).get_parameter(name), expected)
    model = build("frozen")
    assert [each.requires_grad for each in model.parameters()] == [False, False, True, True]
    assert profile(model, IMAGES).parameters == 8 * 4 + 4


@pytest.mark.parametrize(
    ("name", "sample", "words"),
    [
        ("cnn", SampleSpec((13,)), ["takes images [channels, height, width], and the samples are [13] numbers", "mlp"]),
        ("resnet8", SampleSpec((3, 50)), ["[3, 50] numbers; choose gru, transformer or mlp"]),
        ("mlp", SampleSpec((20,), 100), ["takes numbers", "[20] tokens below 100; choose gru or transformer"]),
        ("gru", IMAGES, ["takes series [channels, time] or tokens [tokens]"]),
        ("transformer", SampleSpec((13,)), ["[13] numbers; choose mlp"]),
        ("torchvision:resnet18", SampleSpec((20,), 100), ["takes images", "gru or transformer"]),
    ],
)
def test_samples_that_a_model_does_not_take_are_refused(name: str, sample: SampleSpec, words: list[str]) -> None:
    with pytest.raises(PluginError, match=f"model '{name}'") as caught:
        build_model(Plugin(name), sample, 4, torch.Generator())
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("shape", [(13,), (3, 50), (1, 8, 8)])
def test_mlp_takes_numbers_of_any_shape(shape: tuple[int, ...]) -> None:
    model = build_model(Plugin("mlp"), SampleSpec(shape), 4, torch.Generator().manual_seed(0))
    assert try_model(model, "mlp", SampleSpec(shape), 4).remarks == ()


@dataclass(frozen=True)
class Reads(Architecture):
    """An architecture that asks for the number of tokens."""

    def build(self, shape: tuple[int, ...], classes: int, vocabulary: int | None = None) -> nn.Module:
        return nn.Sequential(nn.Embedding(vocabulary or 0, 3), nn.Flatten(), nn.Linear(3 * shape[0], classes))


def test_build_gets_the_vocabulary_where_it_asks_for_it() -> None:
    spec = Plugin("tests.models.test_build:Reads")
    model = build_model(spec, SampleSpec((5,), 30), 4, torch.Generator().manual_seed(0))
    assert model.get_parameter("0.weight").shape == (30, 3)
    assert try_model(model, "reads", SampleSpec((5,), 30), 4).trains_on_one


def test_what_build_does_wrong_is_told_with_the_line() -> None:
    lines, first = inspect.getsourcelines(own_models.raises)
    assert len(lines) == 2
    file = Path(own_models.__file__)
    with pytest.raises(PluginError, match=rf"building .* ended with an error: {file}, line {first + 1}: KeyError"):
        build("raises")
    with pytest.raises(PluginError, match=r"must be a torch.nn.Module, got dict"):
        build("no_module")
    with pytest.raises(PluginError, match=r"1.weight, 1.bias have no size.*Linear instead of LazyLinear"):
        build("lazy")
