"""Any ``nn.Module`` as a model: what fedkd hands to it, its options, and what is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.core.samples import SampleSpec
from fedkd.models import build_model, embed, try_model

IMAGES, TABLE, TEXTS = SampleSpec((1, 8, 8)), SampleSpec((13,)), SampleSpec((9,), 40)

NETWORKS: dict[str, SampleSpec] = {
    "Attention": IMAGES,
    "Lstm": IMAGES,
    "Tied": TEXTS,
    "Words": TEXTS,
    "transfer": IMAGES,
    "patches": IMAGES,
}


def named(name: str) -> str:
    return f"tests.support.own_networks:{name}"


def build(name: str, sample: SampleSpec, seed: int = 0, **options: Any) -> nn.Module:
    return build_model(Plugin(named(name), options), sample, 4, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_every_kind_work_and_have_an_embedding(name: str) -> None:
    sample = NETWORKS[name]
    model = build(name, sample)
    assert try_model(model, name, sample, 4).remarks == ()
    seen, logits = embed(model, sample.made_up(3))
    assert seen.ndim == 2
    assert logits.shape == (3, 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_alone_sets_what_they_draw(name: str) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build(name, NETWORKS[name]).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    again, other = build(name, NETWORKS[name]).state_dict(), build(name, NETWORKS[name], seed=1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    varied = [key for key, value in first.items() if not torch.equal(value, value.flatten()[0].expand_as(value))]
    assert varied
    assert not any(torch.equal(first[key], other[key]) for key in varied)


def test_layers_draw_their_weights_as_torch_does() -> None:
    seeds = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=seeds)))
        expected = nn.LSTM(8, 6, batch_first=True).state_dict()
    found = build("Lstm", IMAGES).get_submodule("rows").state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_options_are_the_parameters_that_fedkd_does_not_know() -> None:
    cls = plugins.resolve(plugins.MODEL, named("Options"))
    assert [field.name for field in plugins.options_of(cls)] == ["width", "widths", "kind", "scale", "make", "anything"]
    model: Any = build("Options", TABLE, width=3, kind="tanh", scale=2, anything={"a": [1]})
    assert model.given == {
        "width": 3,
        "widths": [8],
        "kind": "tanh",
        "scale": 2.0,
        "anything": {"a": [1]},
        "shape": (13,),
        "made": nn.ReLU,
    }


def test_wrong_options_are_refused_all_at_once() -> None:
    problems = plugins.check(
        plugins.MODEL, named("Options"), {"widht": 3, "kind": "relo", "scale": "big", "classes": 3}
    )
    for words in (
        "widht: unknown option of Options; did you mean 'width'?",
        "classes: unknown option of Options",
        "width: field required; add it",
        "kind: input should be 'relu' or 'tanh', got 'relo'; did you mean 'relu'?",
        "scale: input should be a valid number, got 'big'; write a number",
    ):
        assert any(words in problem for problem in problems), (words, problems)
    (limit,) = plugins.check(plugins.MODEL, named("Options"), {"width": 65})
    assert "width: input should be less than or equal to 64, got 65" in limit


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Atention", ["Atention must be a subclass of Architecture", "torch.nn.Module", "did you mean 'Attention'?"]),
        ("NUMBER", ["NUMBER must be a subclass of Architecture", "function that returns a module"]),
        ("nothing", ["must be a torch.nn.Module, got dict"]),
        ("reserved", ["the options of reserved in", "cannot be called build; rename the parameter"]),
        ("unreadable", ["the options of unreadable in", "name 'Unknown' is not defined"]),
        ("Tied", ["takes tokens, and the samples are [1, 8, 8] numbers"]),
        ("breaks", ["building it for samples of [1, 8, 8] numbers and 4 classes", "own_networks.py, line", "KeyError"]),
    ],
)
def test_what_is_no_network_is_refused(name: str, words: list[str]) -> None:
    with pytest.raises(PluginError, match=f"own_networks|{name}") as caught:
        build(name, IMAGES)
    for word in words:
        assert word in str(caught.value)


def test_torchs_own_classes_are_networks_too() -> None:
    model = build_model(Plugin("torch.nn:Linear", {"in_features": 13, "out_features": 4}), TABLE, 4, torch.Generator())
    assert try_model(model, "linear", TABLE, 4).trains_on_one
