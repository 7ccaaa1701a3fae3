"""What layers put out."""

import pytest
import torch
from torch import nn

from fedkd.models import layer_fault, tapped


def test_outputs_are_those_of_the_layers_even_where_the_next_one_writes_over_them() -> None:
    first = nn.Linear(2, 3)
    with torch.no_grad():
        first.bias.copy_(torch.tensor([-9.0, 0.0, 9.0]))
    model = nn.Sequential(first, nn.ReLU(inplace=True), nn.Linear(3, 2))
    inputs = torch.tensor([[1.0, -2.0]])
    with tapped(model, ["0", "1"]) as found:
        model(inputs)
    expected = inputs @ first.weight.T + first.bias
    torch.testing.assert_close(found["0"], expected)
    torch.testing.assert_close(found["1"], expected.relu())
    assert bool((expected < 0).any())
    found["0"].sum().backward()
    torch.testing.assert_close(first.bias.grad, torch.ones(3))


def test_outside_the_block_nothing_is_kept() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with tapped(model, ["0"]) as found:
        pass
    model(torch.zeros(1, 2))
    assert found == {}


def test_a_wrong_name_gets_the_right_ones() -> None:
    model = nn.Sequential()
    model.add_module("stem", nn.Linear(2, 2))
    model.add_module("head", nn.Linear(2, 2))
    assert layer_fault(model, "stem") is None
    assert layer_fault(model, "sten") == "no layer 'sten'; did you mean 'stem'? its layers are stem, head"
    with pytest.raises(ValueError, match="its layers are stem, head"), tapped(model, [""]):
        pass


def test_an_output_that_is_no_tensor_is_refused() -> None:
    model = nn.GRU(2, 3)
    outer = nn.Sequential(model)
    with pytest.raises(ValueError, match="puts out a tuple"), tapped(outer, ["0"]):
        outer(torch.zeros(1, 1, 2))
