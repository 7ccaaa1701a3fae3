"""What a model says of the classes that are not the true one."""

import math

import pytest
import torch

from fedkd.analysis.dark_knowledge import agreement, relations, strongest


def test_relations_are_the_shares_of_the_other_classes() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.9, 0.0]])

    found = relations(probabilities.log(), torch.tensor([0, 0, 1]), temperature=1.0)

    # Of class 0, 0.6 of 0.8 go to class 1.
    torch.testing.assert_close(found[0], torch.tensor([0.0, 0.75, 0.25], dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(found[1], torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-6)
    assert bool(found[2].isnan().all()), "no sample is of class 2"
    first, second = strongest(found, 2)
    assert first == pytest.approx((1, 0, 1))
    assert second == pytest.approx((0, 1, 0.75))


def test_a_temperature_softens_the_relations() -> None:
    logits = torch.tensor([[5.0, math.log(9), 0.0]])

    shares = [relations(logits, torch.tensor([0]), temperature)[0, 1].item() for temperature in (1.0, 2.0)]

    assert shares == pytest.approx([9 / 10, 3 / 4])


def test_how_sure_a_model_is_does_not_change_what_it_relates() -> None:
    others = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0], [1.0, 4.0, 0.0]])
    labels = torch.arange(3)

    soft, sharp = (relations(others + sure * torch.eye(3), labels, 1.0) for sure in (0.0, 8.0))

    torch.testing.assert_close(soft, sharp)
    assert agreement(soft, sharp) == pytest.approx(1)


def test_models_that_relate_the_classes_the_other_way_round_disagree() -> None:
    labels = torch.arange(3)
    logits = torch.tensor([[9.0, 2.0, 0.0], [0.0, 9.0, 2.0], [2.0, 0.0, 9.0]])

    one, other = relations(logits, labels, 1.0), relations(logits.T, labels, 1.0)

    assert agreement(one, other) == pytest.approx(-1)


def test_two_classes_have_no_others_to_relate() -> None:
    found = relations(torch.randn(10, 2, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 2, 1.0)

    assert agreement(found, found) is None
