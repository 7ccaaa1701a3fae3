"""Probes tell at which layer classes become linearly separable."""

import pytest
import torch
from torch import Tensor, nn

from fedkd.analysis.probing import (
    Probe,
    area,
    hashed,
    layer_names,
    layer_outputs,
    probe_layers,
    separable_depth,
    spread,
)
from tests.analysis.small_runs import linear

CORNERS = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).repeat(25, 1)
SAME_SIGN = (CORNERS.prod(dim=1) > 0).long()
"""Exclusive or: no line divides the corners of the square by it."""


def folding() -> nn.Module:
    """Sums and differences, then rectified: |x + y| and |x − y| are sums of what the second layer puts out."""
    turned = linear([1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0])
    return nn.Sequential(turned, nn.ReLU(), linear([-1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0]))


def test_classes_are_separable_from_the_second_layer_on() -> None:
    probes = probe_layers(folding(), (CORNERS, SAME_SIGN), (CORNERS, SAME_SIGN))
    assert [(each.layer, each.accuracy) for each in probes] == [("", 0.5), ("0", 0.5), ("1", 1.0), ("2", 1.0)]
    assert [each.depth for each in probes] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert separable_depth(probes) == pytest.approx(2 / 3)
    # Thirds of 0.5, of 0.5 to 1, and of 1.
    assert area(probes) == pytest.approx(0.75)


def test_nineteen_twentieths_of_the_last_accuracy_are_enough() -> None:
    def at(accuracy: float) -> float:
        return separable_depth([Probe("a", 0.5, accuracy), Probe("b", 1.0, 0.8)])

    assert (at(0.7599), at(0.7601)) == (1.0, 0.5)


def test_the_mean_is_over_the_depths_that_are_probed() -> None:
    assert area([Probe("a", 0.5, 0.6), Probe("b", 1.0, 0.8)]) == pytest.approx(0.7)
    assert area([Probe("a", 1.0, 0.7)]) == 0.7


class _Odd(nn.Module):
    """Layers declared in another order than they are run, one of them twice, one that puts out no tensor alone."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)
        self.twice, self.unused, self.memory = nn.ReLU(), nn.Linear(1, 1), nn.LSTM(3, 3, batch_first=True)
        self.drop, self.same = nn.Dropout(0.5), nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.twice(self.first(self.twice(self.drop(self.same(inputs)))))
        logits: Tensor = self.last(self.memory(hidden.unsqueeze(1))[0][:, 0])
        return logits


def test_layers_are_those_that_compute_in_the_order_of_the_pass() -> None:
    assert layer_names(_Odd().eval(), torch.rand(2, 4)) == ["twice", "first", "last"]


def test_of_many_layers_some_are_taken_at_equal_distances() -> None:
    names = [f"l{index}" for index in range(1, 31)]
    assert spread(names, 3) == {"l1": pytest.approx(1 / 30), "l16": pytest.approx(16 / 30), "l30": 1.0}
    assert spread(names[:2], 12) == {"l1": 0.5, "l2": 1.0}
    assert spread(names, 1) == {"l30": 1.0}


def test_wide_outputs_are_reduced_to_signed_sums_that_keep_inner_products() -> None:
    generator = torch.Generator().manual_seed(0)
    single = hashed(torch.eye(50), 8, generator)
    assert torch.equal(single.abs().sum(dim=1), torch.ones(50)), "each feature is in one sum, with one sign"
    pair = torch.randn(2, 50, generator=generator)
    products = [float((one[0] * one[1]).sum()) for one in (hashed(pair, 8, generator) for _ in range(4000))]
    mean = torch.tensor(products)
    assert abs(mean.mean() - (pair[0] * pair[1]).sum()) < 4 * mean.std() / 4000**0.5
    assert hashed(pair, 50, generator) is pair


def test_what_a_layer_puts_out_does_not_depend_on_the_batch() -> None:
    samples = torch.rand(300, 4, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(4, 40), nn.ReLU())
    whole = layer_outputs(model, samples, ["0", "1"], width=6, seed=3)
    parts = [layer_outputs(model, part, ["0", "1"], width=6, seed=3) for part in samples.split(99)]
    for name, outputs in whole.items():
        torch.testing.assert_close(outputs, torch.cat([part[name] for part in parts]))


def test_tokens_have_no_probe_of_their_own() -> None:
    tokens = torch.tensor([[1], [2]] * 10)
    model = nn.Sequential(nn.Embedding(3, 4), nn.Flatten(), nn.Linear(4, 2))
    probes = probe_layers(model, (tokens, tokens[:, 0] - 1), (tokens, tokens[:, 0] - 1))
    assert [(each.layer, each.depth) for each in probes] == [("0", 0.5), ("2", 1.0)]


def test_samples_of_one_class_fit_no_probe() -> None:
    with pytest.raises(ValueError, match=r"at least two classes, got \[1\]"):
        probe_layers(folding(), (CORNERS, torch.ones(100).long()), (CORNERS, SAME_SIGN))
