"""The single teachers: golden numbers that can be checked by hand, and what the robust ones withstand."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedkd import plugins
from fedkd.aggregation import LogitAggregator, ReportStack
from fedkd.errors import PluginError
from fedkd.testing import select_clients


def build(name: str, **options: object) -> LogitAggregator:
    aggregator: LogitAggregator = plugins.build(plugins.TEACHER, name, options)
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
    assert target("krum", shares(0.2, 0.3, 0.8), byzantine=1) == [0.25, 0.75]
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


def test_vote_with_noise_names_one_class_and_draws_it_from_the_stack() -> None:
    logits = torch.randn(5, 400, 3, generator=torch.Generator().manual_seed(0))
    shares = build("vote")(stack_of(logits)).probabilities

    def noisy(noise: float, seed: int) -> Tensor:
        stack = stack_of(logits, generator=torch.Generator().manual_seed(seed))
        return build("vote", noise=noise)(stack).probabilities

    torch.testing.assert_close(noisy(10.0, 1).amax(1), torch.ones(400))
    assert torch.equal(noisy(10.0, 1), noisy(10.0, 1))
    assert not torch.equal(noisy(10.0, 1), noisy(10.0, 2))
    won = [float(shares[noisy(noise, 1) > 0.5].mean()) for noise in (1e-3, 1.0, 100.0)]
    # Without noise to speak of the winner has the most votes; with much, any class wins, and has a third on average.
    assert won[0] == pytest.approx(float(shares.amax(1).mean()), abs=1e-5)
    assert won[0] > won[1] + 0.02 > won[2] + 0.04
    assert won[2] == pytest.approx(1 / 3, abs=0.04)
    with pytest.raises(ValueError, match=r"noise > 0 draws from the stack's generator.*pass generator="):
        build("vote", noise=1.0)(stack_of(logits))


ROBUST = ("median", "trimmed_mean", "geometric_median", "krum", "multi_krum", "cronus")


def seven(seed: int = 0) -> tuple[ReportStack, Tensor]:
    """Seven clients that mostly agree on 60 samples of four classes, and the truth."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.randint(4, (60,), generator=draw)
    logits = torch.nn.functional.one_hot(truth, 4) * 4.0 + torch.randn(7, 60, 4, generator=draw) * 0.5
    return stack_of(logits), truth


def with_liar(stack: ReportStack, truth: Tensor, lie: str) -> ReportStack:
    logits = stack.logits.clone()
    if lie == "extreme":
        logits[3] = torch.nn.functional.one_hot((truth + 1) % 4, 4) * 1e4
    else:
        logits[3] = -logits[3]
    return replace(stack, logits=logits)


def moved(name: str, lie: str) -> float:
    """How far the lie moves the targets: half the sum of absolute differences, the mean over the samples."""
    stack, truth = seven()
    honest, attacked = (build(name)(given).probabilities for given in (stack, with_liar(stack, truth, lie)))
    return float((honest - attacked).abs().sum(1).mean() / 2)


@pytest.mark.parametrize("lie", ["extreme", "flipped"])
@pytest.mark.parametrize("name", ROBUST)
def test_one_liar_of_seven_hardly_moves_robust_teachers(name: str, lie: str) -> None:
    assert moved(name, lie) < 0.02
    assert moved("mean_probabilities", lie) > 0.1


@pytest.mark.parametrize("name", ["mean_logits", "certainty_weighted", "variance_weighted"])
def test_one_liar_of_seven_rules_teachers_that_average_logits(name: str) -> None:
    assert moved(name, "extreme") > 0.95


@pytest.mark.parametrize("lie", ["extreme", "flipped"])
def test_exp_guard_learns_to_distrust_who_keeps_lying(lie: str) -> None:
    guard, mean = build("exp_guard"), build("mean_probabilities")
    weights = []
    for round in range(1, 9):
        stack, truth = seven(round)
        attacked = replace(with_liar(stack, truth, lie), round=round)
        teacher = guard(attacked)
        assert teacher.client_weight is not None
        weights.append(float(teacher.client_weight[3]))
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] < 1e-3
    honest = mean(select_clients(stack, [0, 1, 2, 4, 5, 6])).probabilities
    trusting = float((mean(attacked).probabilities - honest).abs().mean())
    assert float((teacher.probabilities - honest).abs().mean()) < 0.02 * trusting


def test_exp_guard_remembers_clients_through_absence_and_storage() -> None:
    stack, truth = seven()
    attacked = with_liar(stack, truth, "flipped")
    guard = build("exp_guard")
    guard(attacked)
    before = guard.state_dict()["log_weights"]
    assert min(before, key=before.__getitem__) == 3
    guard(select_clients(attacked, [0, 1, 2, 4, 5, 6]))
    after = guard.state_dict()["log_weights"]
    assert after[3] == before[3]
    assert after[0] < before[0] < 0

    silent = torch.ones(7, 60, dtype=torch.bool)
    silent[3] = False
    guard(replace(attacked, mask=silent))
    assert guard.state_dict()["log_weights"][3] == before[3]

    stored = io.BytesIO()
    torch.save(guard.state_dict(), stored)
    stored.seek(0)
    resumed = build("exp_guard")
    resumed.load_state_dict(torch.load(stored, weights_only=True))
    expected, found = guard(attacked), resumed(attacked)
    assert torch.equal(expected.log_probabilities, found.log_probabilities)
    assert not torch.equal(found.log_probabilities, build("exp_guard")(attacked).log_probabilities)
