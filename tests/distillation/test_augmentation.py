"""Augmentation: every image is one of the few it may become, and the draw is the given generator's."""

import pytest
import torch

from fedkd.distillation.augmentation import SHIFT, Change, augment

FLIP: tuple[Change, ...] = ("flip",)
SHIFTED: tuple[Change, ...] = ("shift",)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_for_changes_nothing() -> None:
    images = torch.rand(5, 3, 6, 7)
    assert torch.equal(augment(images, (), generator()), images)


def test_a_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    images = torch.rand(400, 1, 2, 3)
    found = augment(images, FLIP, generator())
    mirrored = (found == images.flip(3)).flatten(1).all(dim=1)
    kept = (found == images).flatten(1).all(dim=1)
    assert bool((mirrored ^ kept).all())
    assert 150 < int(mirrored.sum()) < 250


def test_a_shift_moves_a_dot_by_at_most_two_pixels_evenly_and_fills_with_background() -> None:
    images = torch.full((2000, 1, 7, 9), -0.5)
    images[:, 0, 3, 4] = 1.0
    found = augment(images, SHIFTED, generator())
    assert found.shape == images.shape
    assert set(found.unique().tolist()) == {-0.5, 1.0}
    _, _, rows, columns = found.eq(1.0).nonzero().T
    assert len(rows) == 2000
    moves = torch.stack([rows - 3, columns - 4])
    counts = torch.bincount((moves[0] + SHIFT) * 5 + moves[1] + SHIFT, minlength=25)
    assert counts.min() > 40  # 80 expected of each of the 25 moves
    assert counts.sum() == 2000


def test_channels_of_an_image_move_together() -> None:
    images = torch.rand(8, 1, 6, 6).repeat(1, 3, 1, 1)
    found = augment(images, ("flip", "shift"), generator())
    assert torch.equal(found[:, 0], found[:, 2])


@pytest.mark.parametrize("changes", [("flip",), ("shift",), ("flip", "shift")])
def test_equal_generators_give_equal_images_and_the_originals_stay(changes: tuple[Change, ...]) -> None:
    images = torch.rand(6, 1, 5, 5)
    before = images.clone()
    first, second = (augment(images, changes, generator(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(images, changes, generator(4)))
    assert torch.equal(images, before)
