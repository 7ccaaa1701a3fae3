"""The single teachers: golden numbers that can be checked by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.testing import check_aggregator, make_stack, select_clients
from fedkd.aggregation.types import ReportStack
from fedkd.core import plugins
from fedkd.core.errors import PluginError


def build(name: str, **options: object) -> LogitAggregator:
    aggregator: LogitAggregator = plugins.build(plugins.STRATEGY, name, options)
    return aggregator


def stack_of(logits: Tensor, **changes: Any) -> ReportStack:
    clients, samples, _ = logits.shape
    plain = ReportStack(
        logits=logits,
        examples=torch.ones(clients, dtype=torch.long),
        labels=torch.full((samples,), -1),
        clients=tuple(range(clients)),
    )
    return replace(plain, **changes)


def reports(*rows: list[float]) -> ReportStack:
    """One sample, and each client's probabilities for it."""
    return stack_of(torch.tensor([[row] for row in rows]).log())


def shares(*first: float) -> ReportStack:
    """One sample, two classes, and each client's probability of the first class."""
    return reports(*([share, 1 - share] for share in first))


def target(name: str, stack: ReportStack, **options: object) -> list[float]:
    return [round(share, 5) for share in build(name, **options)(stack).probabilities[0].tolist()]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_era_by_hand() -> None:
    # The mean is (0.6, 0.4); divided by T = 0.1 it is (6, 4), and softmax of that σ(2) = 0.8808.
    assert target("era", shares(0.8, 0.4))[0] == pytest.approx(sigmoid(2), abs=1e-5)
    # T = 0.2: (3, 2), σ(1)
    assert target("era", shares(0.8, 0.4), temperature=0.2)[0] == pytest.approx(sigmoid(1), abs=1e-5)


def test_enhanced_era_by_hand() -> None:
    # The mean is (0.6, 0.4); squared (0.36, 0.16), of which the first is 9/13.
    assert target("enhanced_era", shares(0.8, 0.4), exponent=2)[0] == pytest.approx(9 / 13, abs=1e-5)
    assert target("enhanced_era", shares(0.8, 0.4), exponent=1) == [0.6, 0.4]


def test_certainty_weighted_by_hand() -> None:
    # A uniform report has certainty 0: the other client decides alone.
    assert target("certainty_weighted", shares(0.5, 0.7)) == [0.7, 0.3]
    # H(0.8) = 0.5004 and H(0.4) = 0.6730 nats: s = 1 − H/0.6931 = 0.2781 and 0.0290. The clients' log-odds are ln 4 and
    # ln 2/3, so the target's are (0.2781·1.3863 − 0.0290·0.4055)/0.3071 = 1.2168.
    assert target("certainty_weighted", shares(0.8, 0.4))[0] == pytest.approx(sigmoid(1.2168), abs=2e-5)


def test_variance_weighted_by_hand() -> None:
    # Variances 4 and 1, weights 0.8 and 0.2: logits 0.8·(2, −2) + 0.2·(−1, 1) = (1.4, −1.4)
    stack = stack_of(torch.tensor([[[2.0, -2.0]], [[-1.0, 1.0]]]))
    assert target("variance_weighted", stack)[0] == pytest.approx(sigmoid(2.8), abs=1e-5)
    # A constant added to a client's logits says nothing.
    shifted = stack_of(torch.tensor([[[2.0, -2.0]], [[99.0, 101.0]]]))
    assert target("variance_weighted", shifted) == target("variance_weighted", stack)


def test_entropy_weighted_by_hand() -> None:
    # Entropies 0 and ln 2: weights 1 and exp(−ln 2) = 1/2, so 2/3 · 1 + 1/3 · 1/2 = 5/6
    stack = stack_of(torch.tensor([[[60.0, 0.0]], [[0.0, 0.0]]]))
    assert target("entropy_weighted", stack)[0] == pytest.approx(5 / 6, abs=1e-5)


def test_median_by_hand() -> None:
    # Medians 0.5, 0.3 and 0.1 sum to 0.9.
    stack = reports([0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.2, 0.7, 0.1])
    assert target("median", stack) == pytest.approx([5 / 9, 3 / 9, 1 / 9], abs=1e-5)
    # Of an even number, the mean of the middle two: (0.4 + 0.6)/2
    assert target("median", shares(0.1, 0.4, 0.6, 0.95)) == [0.5, 0.5]


def test_trimmed_mean_by_hand() -> None:
    stack = shares(0.1, 0.2, 0.3, 0.7, 0.9)
    assert target("trimmed_mean", stack, trim=0) == [0.44, 0.56]
    # (0.2 + 0.3 + 0.7)/3 = 0.4
    assert target("trimmed_mean", stack, trim=1) == [0.4, 0.6]
    assert target("trimmed_mean", stack, trim=2) == [0.3, 0.7]


def test_trimmed_mean_trims_less_where_fewer_vote() -> None:
    stack = shares(0.1, 0.2, 0.3, 0.7, 0.9)
    assert target("trimmed_mean", stack, trim=9) == target("median", stack) == [0.3, 0.7]
    four = replace(stack, mask=torch.tensor([[True], [True], [True], [True], [False]]))
    # Four votes bear a trim of one: (0.2 + 0.3)/2
    assert target("trimmed_mean", four, trim=2) == [0.25, 0.75]
    with pytest.raises(PluginError, match=r"trim: .*greater than or equal to 0, got -1"):
        build("trimmed_mean", trim=-1)


def test_geometric_median_by_hand() -> None:
    # On a line it is the median; of three corners as far from one another, the middle.
    assert target("geometric_median", shares(0.1, 0.2, 0.3, 0.7, 0.9)) == [0.3, 0.7]
    corners = stack_of(torch.eye(3).unsqueeze(1) * 60)
    assert target("geometric_median", corners) == pytest.approx([1 / 3] * 3, abs=1e-5)


def test_krum_by_hand() -> None:
    # Five clients, f = 1: two nearest each. Squared gaps: 0.50: 4 + 16, 0.52: 4 + 4, 0.54: 4 + 16, 0.60: 36 + 64,
    # in units of 1e-4
    stack = shares(0.50, 0.52, 0.54, 0.60, 0.99)
    assert target("krum", stack) == [0.52, 0.48]
    assert target("multi_krum", stack) == [0.54, 0.46]  # all but f: (0.50 + 0.52 + 0.54 + 0.60)/4
    assert target("multi_krum", stack, keep=1) == [0.52, 0.48]
    assert target("multi_krum", stack, keep=9) == [0.63, 0.37]


def test_krum_with_few_clients_averages_what_ties() -> None:
    # Of three clients, f shrinks to 0 and each has one nearest: 0.2 and 0.3 have each other.
    assert target("krum", shares(0.2, 0.3, 0.8), malicious=1) == [0.25, 0.75]
    assert target("krum", shares(0.2, 0.8)) == [0.5, 0.5]


def test_krum_measures_distances_where_both_vote() -> None:
    """Client 3 agrees with the others wherever it votes, so abstaining makes it neither near nor far."""
    logits = torch.tensor([0.50, 0.52, 0.54, 0.51, 0.99]).logit().view(5, 1, 1).repeat(1, 2, 1)
    mask = torch.ones(5, 2, dtype=torch.bool)
    mask[3, 1] = False
    stack = stack_of(torch.cat([logits, torch.zeros_like(logits)], dim=-1), mask=mask)
    # Two nearest each, mean squared gaps (·1e-4): 0.50: 1 + 4, 0.51: 1 + 1, 0.52: 1 + 4. Client 3 wins; where it
    # abstains, the mean of the others stands in: (0.50 + 0.52 + 0.54 + 0.99)/4 = 0.6375
    found = build("krum")(stack).probabilities[:, 0]
    torch.testing.assert_close(found, torch.tensor([0.51, 0.6375]))


def test_cronus_by_hand() -> None:
    stack = shares(0.1, 0.2, 0.3, 0.7, 0.9)
    # One of five may go: the mean is 0.44, 0.9 is farthest from it, and the rest's mean is 0.325.
    assert target("cronus", stack, share=0.2) == [0.325, 0.675]
    # Two may: of the rest 0.7 is farthest from 0.325, which leaves a mean of 0.2.
    assert target("cronus", stack, share=0.4) == [0.2, 0.8]


def test_exp_guard_by_hand() -> None:
    # The median is 0.6, the distances √2·(0.4, 0, 0.2): weights exp(−0.5657) = 0.5680, 1, exp(−0.2828) = 0.7536.
    # (0.5680·0.2 + 1·0.6 + 0.7536·0.8)/2.3216 = 0.5671
    assert target("exp_guard", shares(0.2, 0.6, 0.8))[0] == pytest.approx(0.5671, abs=5e-5)
    assert target("exp_guard", shares(0.2, 0.6, 0.8), step=0)[0] == pytest.approx(1.6 / 3, abs=1e-5)


def test_vote_by_hand() -> None:
    # Two, one and one votes of four
    stack = reports([0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.2, 0.7, 0.1], [0.2, 0.2, 0.6])
    assert target("vote", stack) == [0.5, 0.25, 0.25]


def test_class_count_weighted_by_hand() -> None:
    # Class 0: (3·0.8 + 1·0.4)/4 = 0.7; class 1: (0·0.2 + 2·0.6)/2 = 0.6; shares 7/13 and 6/13.
    counts = torch.tensor([[3, 0], [1, 2]])
    stack = replace(shares(0.8, 0.4), label_counts=counts)
    assert target("class_count_weighted", stack)[0] == pytest.approx(7 / 13, abs=1e-5)
    weight = build("class_count_weighted")(stack).client_weight
    assert weight is not None
    assert weight.tolist() == [0.5, 0.5]


def test_a_class_that_no_voter_holds_gets_the_plain_mean() -> None:
    # Class 0: 0.8 from the one who holds it; class 1: (0.2 + 0.6)/2 = 0.4.
    stack = replace(shares(0.8, 0.4), label_counts=torch.tensor([[5, 0], [0, 0]]))
    assert target("class_count_weighted", stack)[0] == pytest.approx(2 / 3, abs=1e-5)
    nothing = replace(stack, label_counts=torch.zeros(2, 2, dtype=torch.long))
    assert target("class_count_weighted", nothing) == [0.6, 0.4]
    silent = replace(stack, mask=torch.tensor([[False], [True]]))
    assert target("class_count_weighted", silent) == [0.4, 0.6]


def test_label_counts_are_asked_for() -> None:
    with pytest.raises(ValueError, match="ClassCountWeighted needs the clients' label counts"):
        build("class_count_weighted")(shares(0.8, 0.4))


def personal(teacher_options: dict[str, object], *stacks: ReportStack) -> list[list[float]]:
    """Each client's probability of the first class, after these rounds."""
    teacher = build("personalised", **teacher_options)
    for stack in stacks:
        found = teacher(stack).client_log_probabilities
    assert found is not None
    return [[round(float(share), 4) for share in client[:, 0].exp()] for client in found]


def test_personalised_by_hand() -> None:
    # All clients start at (½, ½), so both targets are (0.6, 0.4). For client 0, with p₀ = (0.8, 0.2), the logarithms of
    # target/p₀ are ln 0.75 = −0.2877 and ln 2 = 0.6931; against p₀ − t = (0.2, −0.2) that is a slope of −0.1962, and
    # against p₁ − t = (−0.2, 0.2) of +0.1962. One step of 0.5 moves the coefficients to 0.5981 and 0.4019:
    # 0.5981·0.8 + 0.4019·0.4 = 0.6392. For client 1, p₁ = (0.4, 0.6): ln 1.5 = 0.4055 and ln ⅔ = −0.4055, slopes
    # ±0.1622, coefficients 0.4189 and 0.5811: 0.4189·0.8 + 0.5811·0.4 = 0.5676.
    options: dict[str, object] = {"rho": 0.0, "step": 0.5, "steps": 1, "temperature": 1.0}
    assert personal(options, shares(0.8, 0.4)) == [[pytest.approx(0.6392, abs=1e-4)], [pytest.approx(0.5676, abs=1e-4)]]
    # The common target is the mean of the two.
    common = target("personalised", shares(0.8, 0.4), **options)[0]
    assert common == pytest.approx((0.6392 + 0.5676) / 2, abs=1e-4)


def test_personalised_pulls_to_the_mean_or_to_the_client() -> None:
    stack = shares(0.9, 0.5, 0.1)
    strong: dict[str, object] = {"rho": 1e3, "step": 1e-4}
    assert personal(strong, stack) == [[0.5], [0.5], [0.5]]
    alone: dict[str, object] = {"rho": 0.0, "step": 0.5, "steps": 300, "temperature": 1.0}
    assert personal(alone, stack) == [[pytest.approx(share, abs=0.02)] for share in (0.9, 0.5, 0.1)]


def test_personalised_brings_together_who_answers_alike() -> None:
    draw = torch.Generator().manual_seed(0)
    groups = torch.randn(2, 60, 4, generator=draw) * 3
    logits = groups[[0, 0, 1, 1]] + 0.3 * torch.randn(4, 60, 4, generator=draw)
    teacher = build("personalised", temperature=1.0)
    for round in range(1, 6):
        found = teacher(stack_of(logits, round=round))
    assert found.client_log_probabilities is not None
    own = found.client_log_probabilities.argmax(dim=-1)
    agreement = (own.unsqueeze(1) == groups.argmax(dim=-1)).float().mean(dim=-1)
    assert agreement.argmax(dim=1).tolist() == [0, 0, 1, 1]
    assert float(agreement.amax(dim=1).min()) > 0.9
    coefficients = teacher.state_dict()["coefficients"]
    assert coefficients[0][1] > 3 * coefficients[0][2]
    assert coefficients[3][2] > 3 * coefficients[3][0]


def test_personalised_keeps_coefficients_of_the_absent() -> None:
    stack = make_stack(4, 30, 3)
    teacher = build("personalised", rho=0.1, temperature=1.0)
    teacher(stack)
    before = teacher.state_dict()["coefficients"]
    teacher(select_clients(stack, [0, 1]))
    after = teacher.state_dict()["coefficients"]
    assert after[2] == before[2]
    assert after[0][3] == before[0][3]
    assert sum(after[0][client] for client in (0, 1)) == pytest.approx(1.0)


@pytest.mark.parametrize("options", [{"rho": 0.0, "step": 2.0, "temperature": 1.0}, {"steps": 1}])
def test_personalised_keeps_its_properties_whatever_its_options(options: dict[str, object]) -> None:
    check_aggregator(lambda: build("personalised", **options), seeds=(0,))


def test_stacking_on_the_mean_departs_from_the_mean_of_the_probabilities() -> None:
    stack = make_stack()
    expected = build("mean_probabilities")(stack).probabilities
    torch.testing.assert_close(
        build("stacked", weights="mean", ridge=1e6)(stack).probabilities, expected, atol=1e-4, rtol=0
    )
    check_aggregator(lambda: build("stacked", weights="mean", ridge=1.0), seeds=(0,))


def test_with_cross_fit_a_labelled_target_does_not_come_from_its_own_label() -> None:
    stack = make_stack(clients=3, samples=40, classes=3)
    position = int((stack.labels != -1).nonzero()[0])
    other = stack.labels.clone()
    other[position] = (other[position] + 1) % 3
    moved = {}
    for cross_fit in (False, True):
        before, after = (
            build("stacked", ridge=0.01, cross_fit=cross_fit)(replace(stack, labels=labels)).probabilities
            for labels in (stack.labels, other)
        )
        moved[cross_fit] = (after - before).abs().amax(dim=1)
    assert moved[False][position] > 0.01
    assert moved[True][position] < 1e-3
    unlabelled = stack.labels == -1
    plain, crossed = (build("stacked", ridge=0.01, cross_fit=fit)(stack).probabilities for fit in (False, True))
    assert torch.equal(plain[unlabelled], crossed[unlabelled])
    assert not torch.allclose(plain[~unlabelled], crossed[~unlabelled], atol=1e-3)
