"""Attributions of networks whose gradients are known."""

import sys

import pytest
import torch
from torch import nn

from fedkd.analysis.attribution import MeanOpinion, cosines, input_gradients, integrated_gradients, scores
from fedkd.analysis.subject import NotKnown
from tests.analysis.small_runs import linear

DRAW = torch.Generator().manual_seed(0)
SAMPLES = torch.randn(200, 4, generator=DRAW)
CLASSES = torch.randint(2, (200,), generator=DRAW)
ONE = linear([1.0, 2.0, 0.0, 0.0], [-1.0, -2.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("other", "cosine"),
    [
        (linear([3.0, 6.0, 0.0, 0.0], [-3.0, -6.0, 0.0, 0.0]), 1.0),
        (linear([2.0, -1.0, 5.0, 1.0], [-2.0, 1.0, -5.0, -1.0]), 0.0),
        (linear([-1.0, -2.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0]), -1.0),
        # The same added to every row changes no probability.
        (linear([1.0, 2.0, 9.0, 9.0], [-1.0, -2.0, 9.0, 9.0]), 1.0),
    ],
    ids=["equal", "orthogonal", "opposite", "equal after the softmax"],
)
def test_the_cosine_of_linear_networks_is_that_of_their_weights(other: nn.Module, cosine: float) -> None:
    found = cosines(input_gradients(ONE, SAMPLES, CLASSES), input_gradients(other, SAMPLES, CLASSES))
    torch.testing.assert_close(found, torch.full((200,), cosine, dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_gradient_is_that_of_the_class_less_the_mean() -> None:
    model = linear([1.0, 0.0], [0.0, 1.0], [2.0, 5.0])
    found = input_gradients(model, torch.rand(2, 2), torch.tensor([0, 2]))
    torch.testing.assert_close(found, torch.tensor([[0.0, -2.0], [1.0, 3.0]]))


def test_integrated_gradients_of_a_linear_network_are_gradient_times_sample() -> None:
    found = integrated_gradients(ONE, SAMPLES, CLASSES, steps=3)
    torch.testing.assert_close(found, SAMPLES * input_gradients(ONE, SAMPLES, CLASSES))


def test_integrated_gradients_add_up_to_the_difference_from_nothing() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    found = integrated_gradients(model, SAMPLES, CLASSES, steps=32).sum(dim=1)
    with torch.no_grad():
        gained = (scores(model)(SAMPLES) - scores(model)(torch.zeros_like(SAMPLES))).gather(1, CLASSES[:, None])
    torch.testing.assert_close(found, gained[:, 0], atol=1e-4, rtol=0)


def test_an_ensemble_looks_where_its_members_do_by_their_weights() -> None:
    members = {3: ONE, 8: linear([0.0, 0.0, 1.0, 0.0], [0.0, 0.0, -1.0, 0.0])}
    classes = torch.zeros(200, dtype=torch.int64)

    def gradient(weights: dict[int, float] | None) -> list[float]:
        each = input_gradients(MeanOpinion(members, weights), SAMPLES, classes)
        torch.testing.assert_close(each, each[:1].expand_as(each))
        return [round(value, 5) for value in each[0].tolist()]

    assert gradient({3: 3.0, 8: 1.0}) == [0.75, 1.5, 0.25, 0.0]
    assert gradient(None) == gradient({3: 0.0, 8: 0.0}) == [0.5, 1.0, 0.5, 0.0]
    assert gradient({8: 1.0}) == [0.0, 0.0, 1.0, 0.0]


def test_what_vanishes_has_no_direction_and_what_is_tiny_has() -> None:
    found = cosines(torch.tensor([[0.0, 0.0], [1e-30, 0.0]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    assert bool(found[0].isnan())
    assert float(found[1]) == pytest.approx(1.0)


def test_a_first_layer_may_write_over_its_input() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), ONE)
    samples = SAMPLES.clone()
    found = input_gradients(model, samples, CLASSES)
    assert torch.equal(samples, SAMPLES)
    assert torch.equal(found != 0, (samples > 0) & (found != 0))


def test_without_captum_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(NotKnown, match=r"captum, not installed; pip install 'fedkd\[analysis\]'"):
        integrated_gradients(ONE, SAMPLES, CLASSES)
