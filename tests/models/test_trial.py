"""A model is tried out before anything depends on it, and held in the memory format that it takes."""

import copy

import pytest
import torch

from fedkd.config.values import Plugin
from fedkd.core.compute import laid_out_for
from fedkd.core.errors import PluginError
from fedkd.core.samples import SampleSpec
from fedkd.models import Trial, build_model, placed, predict, try_model
from tests.support import own_models

SHAPE, CPU = (1, 8, 8), torch.device("cpu")

FAULTY: dict[str, list[str]] = {
    "twelve_outputs": ["[2, 4] for 2 images and 4 classes, got [2, 12]"],
    "two_outputs": ["one tensor of logits [2, 4], got a tuple"],
    "named_outputs": ["one tensor of logits [2, 4], got a dict"],
    "squeezed": ["[1, 4] for 1 images", "got [4]", "first axis"],
    "larger_images": ["forward pass", "[2, 1, 8, 8]", "Linear (3)", "2x128 and 4608x4"],
    "top_classes": ["floating-point", "int64"],
    "detached": ["no gradient reaches"],
    "infinite": ["not finite from the start", "inf"],
    "infinite_gradient": ["the gradients of scale are not finite"],
    "changed_in_place": ["backward pass", "inplace operation"],
    "nothing_to_train": ["must have parameters"],
    "raises_in_forward": ["own_models.py, line", "LookupError: no such feature"],
}


def tried(net: str) -> Trial:
    return try_model(getattr(own_models, net)(), net, SampleSpec(SHAPE), 4)


@pytest.mark.parametrize("net", FAULTY)
def test_a_model_that_cannot_work_is_refused_with_the_reason(net: str) -> None:
    with pytest.raises(PluginError, match=f"model '{net}'") as caught:
        tried(net)
    for word in FAULTY[net]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "net",
    ["view", "tied", "used_twice", "attention", "lstm", "recurrent", "embedding", "dropout", "branching", "volumes"],
)
def test_models_that_work_are_not_complained_about(net: str) -> None:
    trial = tried(net)
    assert trial.trains_on_one
    assert all("no influence" in remark for remark in trial.remarks)


def test_remarks_name_outputs_that_are_probabilities_and_parameters_that_do_nothing() -> None:
    assert tried("constants").remarks == ()
    (softmax,) = tried("probabilities").remarks
    assert "leave out the softmax" in softmax
    (idle,) = tried("unused").remarks
    assert "forgotten.weight have no influence" in idle


def test_batch_normalisation_of_features_does_not_train_on_one() -> None:
    assert not tried("normalised").trains_on_one


def test_a_trial_leaves_the_model_and_all_randomness_alone() -> None:
    model = own_models.normalised()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    try_model(model, "normalised", SampleSpec(SHAPE), 4)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("net", ["view", "by_strides", "volumes"])
def test_a_model_that_depends_on_the_memory_format_keeps_its_own(net: str) -> None:
    model = getattr(own_models, net)()
    images = torch.randn(3, *SHAPE)
    expected = model(images)
    found = placed(copy.deepcopy(model), net, SampleSpec(SHAPE), CPU)
    assert torch.equal(predict(found, images), expected)
    wide = torch.randn(2, 3, 4, 4)
    assert laid_out_for(found, wide).is_contiguous()


@pytest.mark.parametrize("name", ["cnn", "lenet5", "resnet8"])
def test_shipped_models_are_held_with_channels_last(name: str) -> None:
    model = build_model(Plugin(name), SampleSpec((3, 8, 8)), 4, torch.Generator().manual_seed(0))
    found = placed(copy.deepcopy(model), name, SampleSpec((3, 8, 8)), CPU)
    images = torch.randn(3, 3, 8, 8)
    assert laid_out_for(found, images).is_contiguous(memory_format=torch.channels_last)
    assert not laid_out_for(model, images).is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(predict(found, images), predict(model, images), atol=1e-5)
    assert found.training


def test_a_model_that_cannot_be_copied_is_refused_with_the_remedy() -> None:
    with pytest.raises(PluginError, match=r"model 'old': cannot be copied .*parametrizations.weight_norm"):
        placed(own_models.old_weight_norm(), "old", SampleSpec(SHAPE), CPU)
