"""Queries beside candidates, on models whose difference is known."""

import pytest
import torch
from torch import Tensor, nn

from fedkd.audit.asking.descent import of_length_one, telling_apart
from fedkd.audit.attack import Rehearsal

CORNERS = torch.tensor([[3.0, 3.0], [3.0, -3.0], [-3.0, 3.0], [-3.0, -3.0]])
"""Public samples whose mean is 0, each 3√2 away from it."""
ONE_AWAY = 1 / (3 * 2**0.5)


def linear(slope: tuple[float, float]) -> nn.Module:
    """A model whose logits are slope·x and 0, so that the logit of class 0 is slope·x."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([slope, (0.0, 0.0)]))
    return model.eval().requires_grad_(False)


def known(inputs: Tensor) -> Rehearsal:
    """Models with the candidates rise along both axes; those without rise along the first and fall along the second."""
    included = torch.tensor([[True] * len(inputs), [False] * len(inputs)])
    labels = torch.zeros(len(inputs), dtype=torch.long)
    return Rehearsal([linear((1.0, 1.0)), linear((1.0, -1.0))], included, inputs, labels, CORNERS)


def test_the_walk_goes_straight_where_only_members_are_surer() -> None:
    found = telling_apart(known(torch.zeros(1, 2)), queries=3, reach=ONE_AWAY)
    # The cross-entropies of both kinds of models fall along (0, 1) alone, wherever one is on that axis.
    assert found.flatten(1).tolist() == [
        pytest.approx([0.0, 0.0]),
        pytest.approx([0.0, 0.25], abs=1e-6),
        pytest.approx([0.0, 1.0], abs=1e-6),
    ]


def test_a_single_query_is_the_far_end_and_no_reach_is_the_candidate() -> None:
    candidate = torch.tensor([[1.0, -2.0]])
    (end,) = telling_apart(known(torch.zeros(1, 2)), queries=1, reach=ONE_AWAY)
    assert end.tolist() == [pytest.approx([0.0, 1.0], abs=1e-6)]
    for place in telling_apart(known(candidate), queries=4, reach=0.0):
        assert torch.equal(place, candidate)


def test_candidates_do_not_disturb_one_another_and_stay_in_range() -> None:
    candidates = torch.tensor([[0.0, 0.0], [1.0, -2.0], [0.0, 2.9]])
    together = telling_apart(known(candidates), queries=2, reach=3 * ONE_AWAY)
    for index, candidate in enumerate(candidates):
        alone = telling_apart(known(candidate.unsqueeze(0)), queries=2, reach=3 * ONE_AWAY)
        assert torch.allclose(together[:, index], alone[:, 0])
    assert float(together.max()) == 3.0
    assert torch.equal(known(candidates).inputs, candidates)


def test_a_class_can_have_no_gradient() -> None:
    assert of_length_one(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2
    assert of_length_one(torch.tensor([[3.0, 4.0]])).tolist() == [pytest.approx([0.6, 0.8])]
