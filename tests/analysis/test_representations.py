"""Linear CKA, against representations whose likeness is known."""

import pytest
import torch
from torch import nn

from fedkd.analysis.representations import gram, layer_grams, similarities, similarity

DRAW = torch.Generator().manual_seed(0)
FEATURES = torch.randn(40, 6, generator=DRAW)


def test_rotation_and_scale_do_not_matter() -> None:
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=DRAW, dtype=torch.float64))

    assert similarity(gram(FEATURES), gram(3 * FEATURES.double() @ rotation + 7)) == pytest.approx(1, abs=1e-9)


def test_stretching_one_direction_matters() -> None:
    stretched = FEATURES * torch.tensor([100.0, 1, 1, 1, 1, 1])

    found = similarity(gram(FEATURES), gram(stretched))

    assert found is not None
    assert found < 0.8


def test_orthogonal_features_have_nothing_in_common() -> None:
    # Hadamard columns: centred and orthogonal.
    signs = torch.tensor([[1.0, 1, 1], [-1, 1, -1], [1, -1, -1], [-1, -1, 1]])

    assert similarity(gram(signs[:, :1]), gram(signs[:, 1:])) == pytest.approx(0, abs=1e-12)
    # One of two equally large directions is shared: ⟨aa, aa + bb⟩/(‖aa‖‖aa + bb‖) = 1/√2.
    assert similarity(gram(signs[:, :1]), gram(signs[:, :2])) == pytest.approx(0.5**0.5)
    assert similarity(gram(torch.ones(4, 2)), gram(signs)) is None


def test_the_kernel_s_form_is_the_features_form() -> None:
    other = torch.randn(40, 3, generator=DRAW) + FEATURES[:, :3]
    x, y = (each.double() - each.double().mean(dim=0) for each in (FEATURES, other))
    expected = (y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())

    assert similarity(gram(FEATURES), gram(other)) == pytest.approx(float(expected))


def test_every_layer_is_compared_with_every_other() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 3)).eval()
    images = torch.randn(20, 1, 4, 4)

    found = layer_grams(network, images, most=12)

    assert list(found) == ["0", "1", "3"]
    # What a rectifier writes over is seen as it was.
    torch.testing.assert_close(found["0"], gram(network[0](images)))
    torch.testing.assert_close(found["3"], gram(network(images)))
    table = similarities(found, found)
    assert [table[place][place] for place in range(3)] == pytest.approx([1, 1, 1])
    assert table[0][2] == table[2][0]
    assert list(layer_grams(network, images, most=1)) == ["3"]
    assert not network[0]._forward_hooks
