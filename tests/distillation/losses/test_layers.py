"""Losses between layers: values by hand, layers that fit and such as do not, and networks that learn by them."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Size, Tensor, nn

from fedkd.config.values import Plugin
from fedkd.core.samples import SampleSpec
from fedkd.distillation.loss import Answers, Batch, DistillationLoss, build_loss
from fedkd.models import build_model, tapped

TEXTS, SERIES = SampleSpec((12,), 30), SampleSpec((3, 12))


def between(loss: DistillationLoss, own: dict[str, Tensor], its: dict[str, Tensor], *weights: float) -> Tensor:
    logits = torch.zeros(len(next(iter(own.values()))), 2)
    weight = torch.tensor(weights) if weights else None
    return loss.value(Answers(logits, own), Answers(logits, its), Batch(1.0, torch.full((len(logits),), -1), weight))


def value(name: str, own: Tensor, its: Tensor, *weights: float) -> Tensor:
    return between(build_loss(name, layers={"mine": "its"}), {"mine": own}, {"mine": its}, *weights)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_fitnets_by_hand() -> None:
    own, its = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [2.0, 2.0]])
    # Half the means of (1, 4) and (4, 4).
    assert value("fitnets", own, its).item() == pytest.approx((1.25 + 2.0) / 2)
    assert value("fitnets", own, its, 3.0, 1.0).item() == pytest.approx((3 * 1.25 + 2.0) / 4)
    two = build_loss("fitnets", layers={"a": "b", "c": "d"})
    assert between(two, {"a": own, "c": own}, {"a": its, "c": own}).item() == pytest.approx(1.625)


def test_maps_of_different_sides_are_averaged_to_the_smaller() -> None:
    # Means of the squares' quarters; the other way round, and by height and width alone.
    large = torch.arange(16.0).view(1, 1, 4, 4)
    small = torch.tensor([[[[2.5, 4.5], [10.5, 12.5]]]])
    assert value("fitnets", large, small) == value("fitnets", small, large) == 0.0
    assert value("fitnets", large, small + 2.0).item() == pytest.approx(2.0)
    assert value("fitnets", drawn(2, 3, 4, 2), drawn(2, 3, 2, 4)).isfinite()


@pytest.mark.parametrize(
    ("student", "teacher", "learned"),
    [
        ((2, 8, 5, 5), (2, 16, 5, 5), nn.Conv2d(8, 16, 1)),
        ((2, 8, 5, 5), (2, 8, 3, 3), None),
        ((2, 8), (2, 16), nn.Linear(8, 16)),
        ((2, 9, 8), (2, 9, 16), nn.Linear(8, 16)),
    ],
    ids=str,
)
def test_projections_of_fitnets(student: tuple[int, ...], teacher: tuple[int, ...], learned: nn.Module | None) -> None:
    found = build_loss("fitnets", layers={"a": "b"}).projection(Size(student), Size(teacher))
    assert str(found) == str(learned)
    projected = drawn(*student) if found is None else found(drawn(*student))
    assert projected.shape[:2] == teacher[:2]
    assert value("fitnets", projected, drawn(*teacher, seed=1)).isfinite()


def test_attention_maps_by_hand() -> None:
    # Sums of squares (9 + 16, 0) and (0, 1), at right angles; then (25, 0) and (25, 25), of cosine √½.
    own = torch.tensor([[[[3.0, 0.0]], [[4.0, 0.0]]]])
    assert value("attention_transfer", own, torch.tensor([[[[0.0, 1.0]]]])).item() == pytest.approx(1.0)
    assert value("attention_transfer", own, torch.tensor([[[[5.0, -5.0]]]])).item() == pytest.approx(1 - math.sqrt(0.5))
    # Steps: the same over time.
    steps = own.squeeze(2).transpose(1, 2)
    found = value("attention_transfer", steps, torch.tensor([[[5.0], [5.0]]]))
    assert found.item() == pytest.approx(1 - math.sqrt(0.5))


@given(st.integers(1, 4), st.integers(1, 4), st.floats(1e-12, 1e12), st.integers(0, 1_000))
def test_attention_has_no_size_and_its_loss_is_bounded(own: int, its: int, factor: float, seed: int) -> None:
    student, teacher = drawn(3, own, 4, 4, seed=seed), drawn(3, its, 4, 4, seed=seed + 1)
    found = value("attention_transfer", student, teacher)
    assert 0.0 <= found <= 1.0
    torch.testing.assert_close(value("attention_transfer", factor * student, -factor * teacher), found)


def same_network(name: str, features: Tensor) -> tuple[Tensor, Tensor]:
    """The value where both have these features, and its gradient by the student's."""
    own = features.clone().requires_grad_()
    found = value(name, own, features)
    return found, torch.autograd.grad(found, own)[0]


@pytest.mark.parametrize("name", ["fitnets", "attention_transfer"])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e15])
def test_equal_features_give_nothing_and_others_finite_numbers(name: str, scale: float) -> None:
    features = scale * drawn(2, 3, 4, 4)
    found, slope = same_network(name, features)
    assert abs(found) < 1e-6
    torch.testing.assert_close(slope, torch.zeros_like(slope))
    for other in (torch.zeros_like(features), scale * drawn(2, 3, 4, 4, seed=1)):
        own = other.clone().requires_grad_()
        found = value(name, own, features)
        assert found.isfinite()
        assert torch.autograd.grad(found, own)[0].isfinite().all()


@pytest.mark.parametrize(
    ("name", "student", "teacher"),
    [
        ("fitnets", (2, 8, 5, 5), (2, 8)),
        ("fitnets", (2, 9, 8), (2, 7, 8)),
        ("fitnets", (2, 2, 2, 2, 2), (2, 2, 2, 2, 2)),
        ("attention_transfer", (2, 8), (2, 8)),
        ("attention_transfer", (2, 9, 8), (2, 7, 8)),
        ("attention_transfer", (2, 8, 5, 5), (2, 9, 8)),
        ("transformer_layers", (2, 9, 8), (2, 7, 8)),
        ("transformer_layers", (2, 4, 9, 9), (2, 9, 8)),
        ("transformer_layers", (2, 8), (2, 8)),
    ],
)
def test_layers_that_cannot_be_compared_are_refused(
    name: str, student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    options: dict[str, Any] = {} if name == "transformer_layers" else {"layers": {"a": "b"}}
    with pytest.raises(ValueError, match=r"^both must be .*; got \(2, .*\) and \(2, .*\)$"):
        build_loss(name, **options).projection(Size(student), Size(teacher))


def transformer(sample: SampleSpec = SERIES, seed: int = 0, **options: object) -> nn.Module:
    return build_model(Plugin("transformer", dict(options)), sample, 4, torch.Generator().manual_seed(seed)).eval()


Features = dict[str, Tensor]


def features_of(
    loss: DistillationLoss, student: nn.Module, teacher: nn.Module, inputs: Tensor
) -> tuple[Features, Features]:
    """What the loss compares, by the student's names, the student's not yet projected."""
    pairs = loss.pairs(student, teacher)
    with tapped(student, pairs) as own:
        student(inputs)
    with tapped(teacher, set(pairs.values())) as its:
        teacher(inputs)
    return {name: own[name] for name in pairs}, {name: its[other] for name, other in pairs.items()}


def test_layers_learn_from_those_at_equal_shares_of_the_depth() -> None:
    pairs = build_loss("transformer_layers").pairs(transformer(depth=2), transformer(depth=6))
    assert pairs == {
        "layers.0": "layers.2",
        "layers.1": "layers.5",
        "layers.0.attention": "layers.2.attention",
        "layers.1.attention": "layers.5.attention",
    }


def test_depths_that_do_not_divide_and_networks_without_layers_are_refused() -> None:
    loss = build_loss("transformer_layers")
    with pytest.raises(ValueError, match=r"number of layers must be a multiple of the student's, got 3 and 2; change"):
        loss.pairs(transformer(depth=2), transformer(depth=3))
    with pytest.raises(ValueError, match="must be a multiple of the student's, got 2 and 4"):
        loss.pairs(transformer(depth=4), transformer(depth=2))
    with pytest.raises(ValueError, match=r"must name a list of layers in the teacher, got 'layers'; it has none"):
        loss.pairs(transformer(), nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"layers in the student, got 'blocks'; it has layers$"):
        build_loss("transformer_layers", blocks="blocks").pairs(transformer(), transformer())


def test_transformer_layers_by_hand() -> None:
    steps = torch.tensor([[[1.0, 1.0], [0.0, 2.0]]])
    looks = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])
    own = {"layers.0": steps, "layers.0.attention": looks}
    its = {"layers.0": torch.zeros(1, 2, 2), "layers.0.attention": torch.full((1, 1, 2, 2), 0.5)}
    # Hidden: means of (1, 1, 0, 4). Attention: means of (¼, ¼, 0, 0).
    assert between(build_loss("transformer_layers", attention=0), own, its).item() == pytest.approx(1.5)
    assert between(build_loss("transformer_layers", hidden=0), own, its).item() == pytest.approx(0.125)
    assert between(build_loss("transformer_layers", hidden=2, attention=4), own, its).item() == pytest.approx(3.5)
    # Two heads of the teacher's that look elsewhere, and the same as the student's on average.
    its["layers.0.attention"] = torch.stack([looks[0, 0] + 0.1, looks[0, 0] - 0.1]).unsqueeze(0)
    found = between(build_loss("transformer_layers", hidden=0), own, its)
    assert found.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("sample", [TEXTS, SERIES], ids=str)
def test_padding_counts_for_nothing_between_layers(sample: SampleSpec) -> None:
    short = SampleSpec((*sample.shape[:-1], 8), sample.vocabulary)
    loss, values = build_loss("transformer_layers"), []
    inputs = sample.made_up(3)
    inputs[..., 8:] = 0
    sources = [transformer(sample, seed=seed) for seed in (0, 1)]
    for shape, seen in ((sample, inputs), (short, inputs[..., :8].clone())):
        models = [transformer(shape, seed=seed) for seed in (0, 1)]
        for model, source in zip(models, sources, strict=True):
            state = source.state_dict()
            model.load_state_dict({**state, "positions": state["positions"][: shape.shape[-1]]})
        values.append(between(loss, *features_of(loss, models[0], models[1], seen)))
    torch.testing.assert_close(*values)
    assert values[0] > 0


def test_a_small_transformer_learns_the_layers_of_a_large_one() -> None:
    student, teacher = transformer(depth=1, width=8, heads=2), transformer(depth=2, width=12, heads=3, seed=1)
    loss, inputs = build_loss("transformer_layers"), drawn(16, 3, 12)
    own, its = features_of(loss, student, teacher, inputs)
    projection = loss.projection(own["layers.0"].shape, its["layers.0"].shape)
    assert isinstance(projection, nn.Linear)
    assert loss.projection(own["layers.0.attention"].shape, its["layers.0.attention"].shape) is None
    its = {name: each.detach() for name, each in its.items()}
    optimiser = torch.optim.Adam([*student.parameters(), *projection.parameters()], lr=0.01)
    losses = []
    for _ in range(60):
        own, _ = features_of(loss, student, teacher, inputs)
        found = between(loss, {**own, "layers.0": projection(own["layers.0"])}, its)
        losses.append(found.item())
        optimiser.zero_grad()
        found.backward()
        optimiser.step()
    assert losses[-1] < 0.3 * losses[0]
    own, _ = features_of(loss, student, student, inputs)
    assert between(loss, own, own) == 0.0
