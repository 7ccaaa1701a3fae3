"""Blends of two classes with known weights."""

import math

import pytest
import torch

from fedkd.analysis.blends import WEIGHTS, blend
from fedkd.analysis.correlation import correlation
from fedkd.analysis.subject import Samples


def _corners(classes: int = 3, each: int = 4) -> Samples:
    """Every sample is its class's unit vector, so that a blend shows its weights."""
    labels = torch.arange(classes).repeat(each)
    return Samples(torch.eye(classes)[labels], labels)


def test_a_blend_is_of_two_classes_by_its_weight() -> None:
    blends = blend(_corners(), 45, torch.Generator().manual_seed(0))
    assert blends is not None

    assert bool((blends.first != blends.second).all())
    rows = torch.arange(45)
    torch.testing.assert_close(blends.inputs[rows, blends.first], blends.weights)
    torch.testing.assert_close(blends.inputs[rows, blends.second], 1 - blends.weights)
    torch.testing.assert_close(blends.weights.unique(), torch.tensor(WEIGHTS))


def test_an_exact_soft_predictor_is_not_out_at_all() -> None:
    blends = blend(_corners(), 45, torch.Generator().manual_seed(0))
    assert blends is not None

    # What it gives to a third class does not count.
    shares = blends.shares(blends.inputs.clamp_min(1e-9).log())

    torch.testing.assert_close(shares, blends.weights.double(), rtol=0, atol=1e-6)
    assert float(blends.divergence(shares).max()) < 1e-10
    assert correlation(shares, blends.weights) == pytest.approx(1)


def test_a_hard_and_an_undecided_predictor_are_out_by_a_known_divergence() -> None:
    blends = blend(_corners(), 9, torch.Generator().manual_seed(0))
    assert blends is not None

    undecided = blends.shares(torch.zeros(9, 3))
    truth = torch.tensor(WEIGHTS, dtype=torch.float64)
    entropy = -(truth * truth.log() + (1 - truth) * (1 - truth).log())
    torch.testing.assert_close(blends.divergence(undecided), math.log(2) - entropy, rtol=0, atol=1e-6)

    certain = blends.shares(torch.nn.functional.one_hot(blends.first, 3).double().log())
    assert certain.tolist() == [1.0] * 9
    assert bool(blends.divergence(certain).isfinite().all())


def test_one_class_gives_no_blends() -> None:
    alike = Samples(torch.ones(5, 2), torch.zeros(5, dtype=torch.int64))

    assert blend(alike, 10, torch.Generator().manual_seed(0)) is None
