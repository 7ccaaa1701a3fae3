"""Teachers that add noise: sensitivity over adversarial neighbours, the amount of noise, and its price."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import ndtr
from torch import Tensor

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.testing import make_stack
from fedkd.aggregation.types import ReportStack
from fedkd.aggregation.voting import vote_counts
from fedkd.core import plugins
from fedkd.privacy.accounting import composed_epsilon, gaussian_epsilon
from fedkd.privacy.clipping import clip_vectors
from fedkd.privacy.guarantee import Release
from fedkd.privacy.private import Private
from strategies.confident_gnmax import ConfidentGNMax
from strategies.gaussian_mean import GaussianMean
from strategies.gnmax import GNMax

DELTA = 1e-5
RELEASE = Release(queries=100, classes=10, clients=50, examples=10, epochs=1, batch_size=1, parameters=1)

LOGITS = arrays(
    np.float32,
    (3, 4, 3),
    elements=st.one_of(
        st.floats(-1e4, 1e4, width=32),
        st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 3.4e38, -3.4e38, 1e-45]),
    ),
)
MASKS = arrays(np.bool_, (3, 4))


def stack_of(logits: Tensor, mask: Tensor | None = None, seed: int = 0) -> ReportStack:
    clients, samples, _ = logits.shape
    return ReportStack(
        logits=logits,
        examples=torch.ones(clients, dtype=torch.long),
        labels=torch.full((samples,), -1),
        clients=tuple(range(clients)),
        mask=mask,
        noise=np.random.default_rng(seed),
    )


def build_mean(**options: object) -> GaussianMean:
    teacher: GaussianMean = plugins.build(plugins.STRATEGY, "gaussian_mean", options)
    return teacher


def votes_of(*choices: int, samples: int, classes: int = 2, seed: int = 0) -> ReportStack:
    """Each client's one vote on all samples."""
    one_hot = torch.nn.functional.one_hot(torch.tensor(choices), classes).float() * 10
    return stack_of(one_hot.unsqueeze(1).repeat(1, samples, 1), seed=seed)


@given(LOGITS, LOGITS, MASKS, MASKS)
def test_one_client_moves_the_counts_of_a_sample_by_root_two_and_their_maximum_by_one(
    logits: np.ndarray, other: np.ndarray, mask: np.ndarray, other_mask: np.ndarray
) -> None:
    before = stack_of(torch.from_numpy(logits), torch.from_numpy(mask))
    changed, changed_mask = logits.copy(), mask.copy()
    changed[1], changed_mask[1] = other[1], other_mask[1]
    after = stack_of(torch.from_numpy(changed), torch.from_numpy(changed_mask))
    one, two = vote_counts(before), vote_counts(after)
    assert float((one - two).norm(dim=1).max()) <= GNMax().guarantee(RELEASE).sensitivity + 1e-12
    assert float((one.amax(1) - two.amax(1)).abs().max()) <= 1.0


@pytest.mark.parametrize(("per", "sensitivity"), [("vector", 2 * 2.0 * 2), ("report", 2 * 2.0)])
@given(LOGITS, LOGITS, MASKS, MASKS)
def test_one_client_moves_the_gaussian_means_sum_by_what_is_declared(
    per: str, sensitivity: float, logits: np.ndarray, other: np.ndarray, mask: np.ndarray, other_mask: np.ndarray
) -> None:
    """The teacher's logits times the clients are the noised sum; the noise is the same and drops out."""
    teacher = build_mean(noise=1e-9, clip=2.0, per=per)
    declared = teacher.guarantee(dataclasses.replace(RELEASE, queries=4)).sensitivity
    assert declared == pytest.approx(sensitivity)
    changed, changed_mask = logits.copy(), mask.copy()
    changed[1], changed_mask[1] = other[1], other_mask[1]
    sums = [
        teacher.aggregate(stack_of(torch.from_numpy(values), torch.from_numpy(votes))).log_probabilities.double() * 3
        for values, votes in ((logits, mask), (changed, changed_mask))
    ]
    # softmax takes off the mean, which clipping had made 0.
    first, second = (total - total.mean(dim=1, keepdim=True) for total in sums)
    assert float((first - second).norm()) <= declared + 1e-4


@pytest.mark.parametrize("per", ["vector", "report"])
def test_what_a_client_adds_to_a_secure_sum_is_clipped_as_in_the_open(per: str) -> None:
    teacher, stack = build_mean(noise=1e-9, clip=2.0, per=per), make_stack(3, 6, 4)
    total = torch.stack([teacher.summand(logits) for logits in stack.logits]).sum(dim=0)
    expected = (total / 3).log_softmax(dim=-1).float()
    torch.testing.assert_close(teacher.aggregate(stack).log_probabilities, expected, rtol=1e-5, atol=1e-6)


def test_gnmax_loses_a_lead_as_often_as_its_noise_says() -> None:
    # 6 votes against 4, σ = 2: the difference of two counts has standard deviation 2√2, P(right) = Φ(2/2.83) = 0.760.
    samples = 8000
    winners = GNMax(noise=2.0)(votes_of(*[0] * 6, *[1] * 4, samples=samples)).probabilities.argmax(1)
    share = float((winners == 0).double().mean())
    assert share == pytest.approx(float(ndtr(2 / (2 * math.sqrt(2)))), abs=0.015)


def test_gnmax_answers_with_one_class_whoever_abstains() -> None:
    stack = make_stack(5, 40, 4)
    nobody = dataclasses.replace(stack, mask=torch.zeros(5, 40, dtype=torch.bool))
    for given_stack in (stack, nobody):
        assert sorted(set(GNMax()(given_stack).probabilities.amax(1).round(decimals=4).tolist())) == [1.0]
    # Without a vote the class is drawn: not always the same.
    assert (
        len(GNMax()(dataclasses.replace(nobody, noise=np.random.default_rng(0))).probabilities.argmax(1).unique()) > 1
    )


def test_noise_differs_from_round_to_round() -> None:
    drawn = [GNMax(noise=50.0)(votes_of(0, 1, samples=200, seed=seed)).probabilities.argmax(1) for seed in (0, 1, 0)]
    assert torch.equal(drawn[0], drawn[2])
    assert 0.3 < float((drawn[0] == drawn[1]).double().mean()) < 0.7


def test_gnmax_costs_every_query() -> None:
    # RDP(α) = α/σ² per query is that of z = σ/√2: 100 queries at σ = 50·√2 are 100 Gaussians at z = 50, μ = 1/5.
    (event,) = GNMax(noise=50 * math.sqrt(2)).dp_event(RELEASE)
    assert event.noise_multiplier == pytest.approx(50.0)
    assert composed_epsilon((event,), DELTA) == pytest.approx(gaussian_epsilon(noise_multiplier=5.0, delta=DELTA))


def test_confident_gnmax_asks_for_a_clear_majority() -> None:
    # 9 of 10 against a threshold of 7 with σ_t = 1: passed with probability Φ(2) = 0.977; 5 of 10: Φ(−2) = 0.023.
    teacher = ConfidentGNMax(noise=0.01, threshold_noise=1.0, threshold=0.7)
    clear = teacher(votes_of(*[0] * 9, 1, samples=4000))
    split = teacher(votes_of(*[0] * 5, *[1] * 5, samples=4000))
    assert float(clear.sample_weight.mean()) == pytest.approx(0.977, abs=0.01)
    assert float(split.sample_weight.mean()) == pytest.approx(0.023, abs=0.01)
    answered = clear.sample_weight == 1
    assert bool((clear.probabilities[answered].argmax(1) == 0).all())
    torch.testing.assert_close(clear.probabilities[~answered], torch.full((int((~answered).sum()), 2), 0.5))


def test_confident_gnmax_charges_the_threshold_for_every_query_and_answers_no_more_than_it_charges() -> None:
    teacher = ConfidentGNMax(noise=math.sqrt(2) * 30, threshold_noise=40.0, threshold=0.0, answers=0.25)
    threshold, answer = teacher.dp_event(RELEASE)
    assert (threshold.noise_multiplier, threshold.count) == (40.0, 100)
    assert answer.noise_multiplier == pytest.approx(30.0)
    assert answer.count == 25
    weights = teacher(votes_of(*[0] * 500, samples=100)).sample_weight
    assert weights[:25].tolist() == [1.0] * 25
    assert float(weights.sum()) == 25


def test_gaussian_mean_has_the_declared_noise() -> None:
    stack = stack_of(torch.zeros(5, 4000, 3))
    log_probabilities = GaussianMean(noise=2.0)(stack).log_probabilities
    # Noise 2/5 on each of three logits; the difference of two has √2 times that.
    difference = log_probabilities[:, 0] - log_probabilities[:, 1]
    assert float(difference.std()) == pytest.approx(0.4 * math.sqrt(2), rel=0.04)


def test_gaussian_mean_is_the_mean_of_the_clipped_logits() -> None:
    stack = make_stack(4, 12, 3)
    expected = clip_vectors(stack.logits, 1.5).mean(dim=0).softmax(-1).float()
    found = GaussianMean(noise=1e-9, clip=1.5)(stack).probabilities
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: GNMax(noise=0.0), "noise"),
        (lambda: ConfidentGNMax(noise=math.inf), "noise"),
        (lambda: ConfidentGNMax(threshold_noise=0.0), "threshold_noise"),
        (lambda: ConfidentGNMax(answers=0.0), "answers"),
        (lambda: GaussianMean(clip=0.0), "clip"),
        (lambda: GNMax(noise=1.0, target_epsilon=8.0), "noise"),
        (lambda: GaussianMean(target_epsilon=-1.0), "target_epsilon"),
        (lambda: ConfidentGNMax(target_epsilon=0.0), "target_epsilon"),
    ],
)
def test_options_out_of_range_are_refused(build: Callable[[], object], word: str) -> None:
    with pytest.raises(ValueError, match=f"^{word} must"):
        build()


def test_usability_says_how_clear_a_majority_must_be() -> None:
    # 1.645·√2·σ votes: 23.3 of 50 for σ = 10, and more than there are for σ = 40.
    assert "leads by 23.3 of 50 votes: that is 47% of the clients" in GNMax(10.0).signal_to_noise(RELEASE)
    assert "even a unanimous vote may lose" in GNMax(40.0).signal_to_noise(RELEASE)


TARGETED = [GNMax(target_epsilon=5.0), GaussianMean(target_epsilon=5.0), ConfidentGNMax(2.0, 6.0, target_epsilon=5.0)]


@pytest.mark.parametrize("teacher", TARGETED, ids=lambda teacher: type(teacher).__name__)
def test_a_target_is_met_over_all_rounds_and_little_is_wasted(teacher: Private) -> None:
    few = dataclasses.replace(RELEASE, examples=5)
    fixed = teacher.calibrated({0: (RELEASE, 3), 1: (few, 1)}, DELTA)
    spent = composed_epsilon(fixed.dp_event(RELEASE) * 3, DELTA)
    assert 4.98 < spent <= 5.0
    assert fixed.calibrated({0: (RELEASE, 3)}, DELTA) is fixed


def test_calibration_keeps_the_ratio_of_the_two_noises() -> None:
    fixed = ConfidentGNMax(2.0, 6.0, target_epsilon=5.0).calibrated({0: (RELEASE, 1)}, DELTA)
    assert fixed.threshold_noise == pytest.approx(3 * fixed.noise)


@pytest.mark.parametrize("teacher", TARGETED, ids=lambda teacher: type(teacher).__name__)
def test_a_teacher_refuses_to_teach_before_its_noise_is_known(teacher: LogitAggregator) -> None:
    with pytest.raises(ValueError, match="noise is not known yet"):
        teacher.aggregate(make_stack(3, 6, 4))
