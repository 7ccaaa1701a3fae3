"""Clipped sums of per-sample gradients, of models as people write them: exact, or refused with the reason."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedkd.config.values import Plugin
from fedkd.core.samples import SampleSpec
from fedkd.models import build_model
from fedkd.privacy.per_sample import check_trainable_privately, clipped_gradient_sum, clipped_sum_of
from fedkd.privacy.per_sample._book_keeping import book_kept_sum
from fedkd.privacy.per_sample._functional import vectorised_sum
from tests.support import own_models
from tests.support.own_models import Net

Build = Callable[[], nn.Module]

COVERED: list[Build] = [
    own_models.tied,
    own_models.used_twice,
    own_models.functional_head,
    own_models.called_and_functional,
    own_models.bypassed,
    own_models.normalised_by_hand,
    own_models.weight_normed,
    own_models.own_parameters,
    own_models.prelu,
    own_models.circular,
    own_models.transposed,
    own_models.embedding,
    own_models.attention,
    own_models.lstm,
    own_models.residual_in_place,
]

REFUSED: dict[Build, list[str]] = {
    own_models.mixing: ["depends on the other samples of its batch", "LayerNorm"],
    own_models.cumulative: ["depends on the other samples of its batch"],
    own_models.running_statistics: ["0.running_mean", "leave the client without noise"],
    own_models.branching: ["data-dependent control flow", "branch"],
    own_models.unused: ["forgotten.weight", "no influence", "take them out"],
    own_models.recurrent: ["GRU (rows)", "sample by sample"],
}


def built(build: Build) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return build()


def samples(count: int = 5) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 8, 8, generator=draw), torch.randint(4, (count,), generator=draw)


def by_definition(model: nn.Module, inputs: Tensor, labels: Tensor, bound: float) -> list[Tensor]:
    """One backward pass per sample."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for image, label in zip(inputs, labels, strict=True):
        gradients = torch.autograd.grad(F.cross_entropy(model(image[None].clone()), label[None]), parameters)
        norm = math.sqrt(sum(float(each.square().sum()) for each in gradients))
        for sum_, each in zip(total, gradients, strict=True):
            sum_ += each * min(1.0, bound / norm)
    return total


@pytest.mark.parametrize("build", COVERED, ids=lambda build: build.__name__)
def test_every_use_of_every_parameter_counts(build: Build) -> None:
    # Attention drops out in training.
    model = built(build).eval()
    inputs, labels = samples()
    for bound in (0.3, 1e6):
        found = clipped_gradient_sum(model, inputs.clone(), labels, bound)
        for one, other in zip(found, by_definition(model, inputs, labels, bound), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


TEXTS, SERIES, IMAGES = SampleSpec((9,), 40), SampleSpec((3, 9)), SampleSpec((1, 8, 8))

BROUGHT: list[tuple[str, dict[str, Any], SampleSpec]] = [
    ("gru", {"width": 6, "depth": 2}, TEXTS),
    ("gru", {"width": 6}, SERIES),
    ("transformer", {"width": 8}, TEXTS),
    ("transformer", {"width": 8}, SERIES),
    ("attention", {"width": 6, "queries": 2}, TEXTS),
    ("attention", {"width": 6, "queries": 1}, SERIES),
    ("fixed_context", {"width": 8}, TEXTS),
    ("fixed_context", {"width": 8, "depth": 2}, SERIES),
    ("tests.support.own_networks:Tied", {}, TEXTS),
    ("tests.support.own_networks:Attention", {}, IMAGES),
    ("tests.support.own_networks:Lstm", {}, IMAGES),
    ("tests.support.own_networks:transfer", {}, IMAGES),
    ("tests.support.own_networks:patches", {}, IMAGES),
    # Batch statistics that stay as they are.
    ("torchvision:shufflenet_v2_x0_5", {"freeze": True}, SampleSpec((1, 32, 32))),
]


def brought(name: str, options: dict[str, Any], sample: SampleSpec) -> nn.Module:
    return build_model(Plugin(name, options), sample, 4, torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("name", "options", "sample"), BROUGHT, ids=str)
def test_networks_of_every_kind_are_trained_exactly(name: str, options: dict[str, Any], sample: SampleSpec) -> None:
    model = brought(name, options, sample).train()
    inputs, labels = sample.made_up(5), samples()[1]
    if sample != IMAGES:
        inputs[1, ..., 6:] = 0
    for bound in (0.1, 1e6):
        found = clipped_gradient_sum(model, inputs.clone(), labels, bound)
        expected = by_definition(model, inputs, labels, bound)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_of_a_frozen_backbone_only_the_head_costs_something() -> None:
    for name, _, sample in BROUGHT:
        if name.endswith(("transfer", "shufflenet_v2_x0_5")):
            found = clipped_sum_of(brought(name, {"freeze": True} if "torch" in name else {}, sample), sample.shape)
            assert found is book_kept_sum


@pytest.mark.parametrize(
    ("name", "sample", "words"),
    [
        ("tests.support.own_networks:Words", TEXTS, ["GRU (states)", "sample by sample"]),
        ("torchvision:shufflenet_v2_x0_5", SampleSpec((1, 32, 32)), ["BatchNorm2d", "statistics mix the samples"]),
        ("tests.support.own_networks:mixed_words", TEXTS, ["depends on the other samples of its batch"]),
    ],
)
def test_networks_of_others_are_refused_with_the_reason(name: str, sample: SampleSpec, words: list[str]) -> None:
    with pytest.raises(ValueError, match="DP-SGD") as caught:
        clipped_sum_of(brought(name, {}, sample), sample.shape, sample.made_up(1).dtype)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("build", REFUSED, ids=lambda build: build.__name__)
def test_what_has_no_exact_gradient_per_sample_is_refused_with_the_reason(build: Build) -> None:
    with pytest.raises(ValueError, match="DP-SGD") as caught:
        clipped_sum_of(built(build), (1, 8, 8))
    for word in REFUSED[build]:
        assert word in str(caught.value)


def test_batch_normalisation_is_refused_by_name_whatever_the_shape() -> None:
    for model in (nn.Sequential(nn.BatchNorm2d(1)), nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64))):
        with pytest.raises(ValueError, match=r"BatchNorm.d \(.\).*norm: group"):
            check_trainable_privately(model)


def test_plain_layers_take_the_fast_way_and_dropout_does_not_matter() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 4))
    assert clipped_sum_of(plain, (1, 8, 8)) is book_kept_sum
    assert clipped_sum_of(built(own_models.dropout), (1, 8, 8)) is vectorised_sum


def test_models_that_differ_in_an_attribute_alone_are_told_apart() -> None:
    def forward(net: Any, x: Tensor) -> Any:
        hidden = net.head(x.flatten(1))
        return hidden + F.linear(x.flatten(1), net.head.weight) if getattr(net, "again", False) else hidden

    once, twice = Net(forward, head=nn.Linear(64, 4)), Net(forward, head=nn.Linear(64, 4))
    once.again, twice.again = False, True  # type: ignore[assignment]
    assert clipped_sum_of(once, (1, 8, 8)) is book_kept_sum
    assert clipped_sum_of(twice, (1, 8, 8)) is vectorised_sum


def test_no_sample_counts_for_more_than_the_bound_and_none_that_is_not_finite_at_all() -> None:
    model = built(own_models.prelu)
    inputs, labels = samples()
    rest = clipped_gradient_sum(model, inputs[:4], labels[:4], 0.5)
    for value in (1e18, math.inf, math.nan):
        inputs[4] = value
        found = clipped_gradient_sum(model, inputs, labels, 0.5)
        assert all(bool(each.isfinite().all()) for each in found)
        distance = math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(found, rest, strict=True)))
        assert distance <= 0.5 * (1 + 1e-4)
    nothing = clipped_gradient_sum(model, inputs[:0], labels[:0], 0.5)
    assert all(not bool(each.any()) for each in nothing)


def test_looking_at_a_model_leaves_it_and_all_randomness_alone() -> None:
    model = built(own_models.dropout).eval()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    state = torch.random.get_rng_state()
    clipped_sum_of(model, (1, 8, 8))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_large_sums_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(own_models.prelu)
    inputs, labels = samples()
    whole = vectorised_sum(model, inputs, labels, 0.5)
    monkeypatch.setattr("fedkd.privacy.per_sample._functional.MOST_NUMBERS", 2 * 1200)
    for one, other in zip(vectorised_sum(model, inputs, labels, 0.5), whole, strict=True):
        torch.testing.assert_close(one, other)
