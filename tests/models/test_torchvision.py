"""Networks of torchvision: by name, with weights from a file, and with all but the head frozen."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.core.samples import SampleSpec
from fedkd.models import build_model, profile, try_model

GREY = SampleSpec((1, 32, 32))
SMALL = "shufflenet_v2_x0_5"


def build(name: str = SMALL, sample: SampleSpec = GREY, seed: int = 0, classes: int = 4, **options: Any) -> nn.Module:
    spec = Plugin(f"torchvision:{name}", options)
    return build_model(spec, sample, classes, torch.Generator().manual_seed(seed))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The weights of a network with 4 classes, in which nothing is as it begins."""
    network = models.get_model_builder(SMALL)(num_classes=4)
    draw = torch.Generator().manual_seed(9)
    state = {
        key: torch.rand(value.shape, generator=draw) / 9 if value.is_floating_point() else value + 7
        for key, value in network.state_dict().items()
    }
    torch.save(state, tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def read(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


@pytest.mark.parametrize("name", ["resnet18", SMALL, "mobilenet_v3_small", "squeezenet1_1"])
def test_networks_take_grey_images_and_coloured_ones(name: str) -> None:
    for sample in (GREY, SampleSpec((3, 32, 32))):
        assert try_model(build(name, sample), name, sample, 4).remarks == ()
    model = build(name).eval()
    images = GREY.made_up(3)
    assert torch.equal(model(images), model(images.expand(-1, 3, -1, -1)))


def test_a_vision_transformer_is_made_for_the_images_size() -> None:
    model = build("vit_b_16", freeze=True)
    assert try_model(model, "vit_b_16", GREY, 4).remarks == ()
    assert profile(model, GREY).parameters == 768 * 4 + 4


def test_the_seed_alone_sets_the_weights() -> None:
    first, again, other = (build(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["network.fc.weight"], other["network.fc.weight"])


def test_weights_are_those_of_the_file(saved: Path) -> None:
    found = build(weights=str(saved)).state_dict()
    expected = read(saved)
    assert {f"network.{key}" for key in expected} == set(found)
    assert all(torch.equal(found[f"network.{key}"], value) for key, value in expected.items())


def test_a_head_for_other_classes_begins_anew(saved: Path) -> None:
    one, other = (build(weights=str(saved), classes=7, seed=seed).state_dict() for seed in (0, 1))
    expected = read(saved)
    assert one["network.fc.weight"].shape == (7, 1024)
    assert not torch.equal(one["network.fc.weight"], other["network.fc.weight"])
    for key in expected.keys() - {"fc.weight", "fc.bias"}:
        assert torch.equal(one[f"network.{key}"], expected[key])


def test_freezing_trains_the_head_alone_and_moves_no_statistics(saved: Path) -> None:
    model = build(weights=str(saved), freeze=True)
    assert [key for key, each in model.named_parameters() if each.requires_grad] == [
        "network.fc.weight",
        "network.fc.bias",
    ]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    loss = nn.functional.cross_entropy(model(GREY.made_up(4)), torch.arange(4))
    torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1).zero_grad()
    loss.backward()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [key for key, each in model.named_parameters() if each.grad is not None] == [
        "network.fc.weight",
        "network.fc.bias",
    ]
    # One sample is a batch, for there are no batch statistics.
    assert try_model(model, "frozen", GREY, 4).trains_on_one


def _malicious(path: Path, *, plain: bool = False) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (path.with_name("executed"),)

    state = {"fc.weight": Evil()}
    path.write_bytes(pickle.dumps(state)) if plain else torch.save(state, path)


def _whole_network(path: Path) -> None:
    torch.save(nn.Linear(3, 4), path)


def _other_network(path: Path) -> None:
    torch.save(models.get_model_builder("squeezenet1_1")(num_classes=4).state_dict(), path)


def _wider_network(path: Path) -> None:
    torch.save(models.get_model_builder("shufflenet_v2_x1_0")(num_classes=4).state_dict(), path)


BAD_FILES: dict[str, tuple[Any, list[str]]] = {
    "absent": (lambda path: None, ["there is no file", "weights are not downloaded"]),
    "pickled": (partial(_malicious, plain=True), ["objects and code beside tensors"]),
    "malicious": (_malicious, ["objects and code beside tensors", "torch.save(model.state_dict(), FILE)"]),
    "whole": (_whole_network, ["objects and code beside tensors"]),
    "torn": (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), ["it is damaged"]),
    "list": (lambda path: torch.save([torch.ones(3)], path), ["it holds a list and no state dict"]),
    "nested": (lambda path: torch.save({"model": {"w": torch.ones(3)}}, path), ["'model', a dict, and no state dict"]),
    "other": (_other_network, ["it lacks conv1.0.weight", "the model has no features.0.weight"]),
    "wider": (_wider_network, ["another shape of", "options that it was made with"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_holds_no_weights_of_the_network_is_refused(case: str, tmp_path: Path) -> None:
    make, words = BAD_FILES[case]
    path = tmp_path / "weights.pt"
    make(path)
    with pytest.raises(PluginError, match=rf"model 'torchvision:{SMALL}': weights: ") as caught:
        build(weights=str(path))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_relative_path_is_one_from_where_the_user_works(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    assert torch.equal(build(weights="weights.pt").state_dict()["network.fc.bias"], read(saved)["fc.bias"])


def test_images_that_are_too_small_are_told_which_are_not() -> None:
    with pytest.raises(PluginError, match=r"squeezenet1_1': its forward pass fails on images of 8×8 .* from 24×24 on"):
        build("squeezenet1_1", SampleSpec((1, 8, 8)))
    build("squeezenet1_1", SampleSpec((1, 24, 24)))


def test_names_and_options_are_those_of_torchvision() -> None:
    with pytest.raises(PluginError, match=r"'torchvision:resnet19': .* no classifier of that name; did you mean 'resn"):
        build("resnet19")
    with pytest.raises(PluginError, match="no classifier"):
        build("fasterrcnn_resnet50_fpn")
    with pytest.raises(PluginError, match=r"takes images of 1 or 3 channels, got 4"):
        build(sample=SampleSpec((4, 32, 32)))
    problems = plugins.check(plugins.MODEL, "torchvision:resnet18", {"wieghts": "x", "freeze": 3, "groups": "many"})
    assert "did you mean 'weights'?" in problems[0]
    assert problems[1].startswith("freeze: input should be a valid boolean")
    assert problems[2].startswith("groups: input should be a valid integer")
    wide = build("mobilenet_v2", width_mult=0.25)
    assert profile(wide, GREY).parameters < profile(build("mobilenet_v2"), GREY).parameters
