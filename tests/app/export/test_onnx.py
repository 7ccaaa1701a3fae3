"""ONNX networks: for any batch, and in 8 bits what 8 bits hold."""

import onnx
import pytest
import torch
from torch import nn

from fedkd.app.export import Session, int8_onnx, to_onnx


def int8(model: nn.Module, samples: torch.Tensor) -> tuple[torch.Tensor, bytes, bytes]:
    network = to_onnx(model, samples[:2], {})
    small = int8_onnx(network)
    return Session(small)(samples), network, small


@torch.no_grad()
def test_a_linear_layer_is_computed_in_8_bits_exactly_where_all_numbers_are_such() -> None:
    """Weights are k/127 and inputs whole numbers from 0 to 255, which both scales leave as they are."""
    draw = torch.Generator().manual_seed(0)
    layer = nn.Linear(64, 48)
    levels = torch.randint(-127, 128, (48, 64), generator=draw)
    levels[:, 0] = 127
    layer.weight.copy_(levels / 127)
    samples = torch.randint(0, 256, (5, 64), generator=draw).float()
    samples[:, 0], samples[:, 1] = 0, 255
    found, network, small = int8(layer, samples)
    torch.testing.assert_close(found, layer(samples), rtol=1e-5, atol=1e-3)
    kinds = {node.op_type for node in onnx.load_from_string(small).graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= kinds
    # 48·64 weights of one byte, where there were four.
    assert len(network) - len(small) == pytest.approx(3 * 48 * 64, abs=2500)


@torch.no_grad()
def test_a_convolution_is_off_by_half_a_step_of_its_channel_at_most() -> None:
    layer = nn.Conv2d(3, 4, 3, bias=False)
    layer.weight[1] *= 1000
    layer.weight[2] = 0
    model = nn.Sequential(layer, nn.Flatten())
    samples = torch.rand(6, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    found, _, _ = int8(model, samples)
    steps = layer.weight.abs().amax(dim=(1, 2, 3)) / 127
    bound = samples.flatten(1).sum(dim=1, keepdim=True) * steps / 2
    assert bool(((found - model(samples)).abs() <= bound * 1.001 + 1e-6).all())
    assert bool((found[:, 2] == 0).all())
    assert float((found - model(samples)).abs().max()) > 0


def test_a_file_holds_its_facts_and_no_paths_of_this_machine() -> None:
    network = to_onnx(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(2, 1, 2, 2), {"fedkd": "{}"})
    assert b".py" not in network
    assert {each.key: each.value for each in onnx.load_from_string(network).metadata_props} == {"fedkd": "{}"}
