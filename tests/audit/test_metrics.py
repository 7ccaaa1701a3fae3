"""Figures of attacks against numbers worked out by hand, and ties that are never split."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from fedkd.audit import metrics
from fedkd.audit.report import AttackScores, violations
from fedkd.privacy.ceiling import ceiling


def test_auc_counts_pairs_and_half_of_the_ties() -> None:
    # 3 beats 1 and 2; 2 beats 1 and ties with 2: 3.5 of 4 pairs.
    assert metrics.auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == 0.875


def test_constant_scores_say_nothing() -> None:
    members, others = np.zeros(7), np.zeros(50)
    assert metrics.auc(members, others) == 0.5
    low, high = metrics.auc_interval(members, others)
    assert low <= 0.5 <= high
    assert metrics.at_fpr(members, others, 0.01).tpr == 0.0
    assert metrics.epsilon_lower_bound(members, others, delta=1e-5) == 0.0


def test_order_among_equal_scores_does_not_matter() -> None:
    # A scorer that gives most candidates one score must not profit from members coming first.
    members, others = np.array([1.0] * 10 + [0.0] * 90), np.array([1.0] * 2 + [0.0] * 98)
    assert metrics.auc(members, others) == pytest.approx(0.5 + (0.1 - 0.02) / 2)
    # The ten members with the top score come with two non-members, 2 %, or not at all.
    assert metrics.at_fpr(members, others, 0.01).tpr == 0.0
    assert metrics.at_fpr(members, others, 0.02).tpr == pytest.approx(0.1)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_auc_is_that_of_scikit_learn(members: list[int], others: list[int]) -> None:
    inside, outside = np.array(members, dtype=float), np.array(others, dtype=float)
    truth = [1] * len(members) + [0] * len(others)
    assert metrics.auc(inside, outside) == pytest.approx(roc_auc_score(truth, np.concatenate([inside, outside])))
    low, high = metrics.auc_interval(inside, outside)
    assert 0 <= low <= metrics.auc(inside, outside) + 1e-12
    assert metrics.auc(inside, outside) - 1e-12 <= high <= 1


def test_the_interval_of_the_auc_holds_the_truth_as_often_as_it_says() -> None:
    draw, truth, hits = np.random.default_rng(0), 0.760250, 0  # Φ(1/√2)
    for _ in range(300):
        low, high = metrics.auc_interval(draw.normal(1, 1, 60), draw.normal(0, 1, 90), level=0.9)
        hits += low <= truth <= high
    assert 0.85 < hits / 300 < 0.95


def test_clopper_pearson_by_hand() -> None:
    assert metrics.clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert metrics.clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0))
    assert metrics.clopper_pearson(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)


def test_rates_at_a_false_positive_rate() -> None:
    others = np.arange(100.0)
    members = np.array([99.5, 98.5, 98.5, 50.5])
    # One of 100 may be wrong: the threshold lies between 98 and 99.
    point = metrics.at_fpr(members, others, 0.01)
    assert (point.true, point.false, point.tpr, point.fpr) == (3, 1, 0.75, 0.01)


def test_roc_runs_from_nothing_to_everything_within_its_limits() -> None:
    draw = np.random.default_rng(0)
    curve = metrics.roc(draw.normal(1, 1, 3000), draw.normal(0, 1, 3000))
    assert len(curve) <= 200
    rates = [point[0] for point in curve]
    assert rates == sorted(set(rates))
    assert (curve[0][0], curve[-1][:2]) == (0.0, (1.0, 1.0))
    assert all(low <= hits <= high for _, hits, low, high in curve)


def test_epsilon_of_perfect_separation() -> None:
    # 100 of 100 and 0 of 100 in the half that is tested.
    low = 0.025**0.01
    bound = metrics.epsilon_lower_bound(np.ones(200), np.zeros(200), delta=0.0)
    assert bound == pytest.approx(math.log(low / (1 - low)))
    assert metrics.epsilon_lower_bound(np.ones(200), np.zeros(200), delta=0.01) == pytest.approx(
        math.log((low - 0.01) / (1 - low))
    )


def test_epsilon_finds_non_members_that_are_easy_to_tell() -> None:
    # Half of the non-members stand out at the bottom; at the top nobody does.
    draw = np.random.default_rng(0)
    members = draw.random(2000)
    others = np.where(draw.random(2000) < 0.5, -1.0, draw.random(2000))
    assert metrics.epsilon_lower_bound(members, others, delta=0.0) > 3


def test_epsilon_is_rarely_above_the_truth() -> None:
    # Randomised response at ε = 1 tells the truth with probability e/(1 + e).
    draw, share, exceeded = np.random.default_rng(0), math.e / (1 + math.e), 0
    for trial in range(200):
        members, others = (draw.random(400) < share).astype(float), (draw.random(400) >= share).astype(float)
        exceeded += metrics.epsilon_lower_bound(members, others, delta=0.0, seed=trial) > 1
    assert exceeded <= 10  # 5 % of 200


def test_the_ceiling_is_steep_at_first_and_flat_in_the_end() -> None:
    assert ceiling(0.01, epsilon=math.log(10), delta=0.0) == pytest.approx(0.1)
    assert ceiling(0.0, epsilon=8.0, delta=1e-5) == 1e-5
    assert ceiling(0.5, epsilon=math.log(10), delta=0.0) == pytest.approx(1.0 - 0.1 * 0.5)
    assert ceiling(0.3, epsilon=0.0, delta=0.0) == pytest.approx(0.3)
    assert ceiling(0.3, epsilon=math.inf, delta=0.0) == 1.0


def test_claims_are_refuted_with_confidence_only() -> None:
    strong = AttackScores("a", "queried", np.ones(300), np.zeros(300))
    (found,) = {(each.attack, each.observation) for each in violations([strong], epsilon=1.0, delta=1e-5, level=0.95)}
    assert found == ("a", "queried")
    # Nothing wrong was seen in 30 non-members either, but that shows little.
    weak = AttackScores("a", "queried", np.ones(30), np.zeros(30))
    assert violations([weak], epsilon=3.0, delta=1e-5, level=0.95) == ()
    assert violations([strong], epsilon=8.0, delta=1e-5, level=0.95) == ()


@pytest.mark.parametrize(
    ("members", "others", "message"),
    [
        (np.zeros(0), np.zeros(3), "members must be one score per candidate"),
        (np.zeros(3), np.zeros((3, 1)), "non_members must be one score per candidate"),
        (np.array([np.nan]), np.zeros(3), "got NaN"),
    ],
)
def test_scores_that_are_none(members: metrics.Scores, others: metrics.Scores, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.auc(members, others)


def test_bad_counts_and_deltas() -> None:
    with pytest.raises(ValueError, match="successes must lie in 0 to trials"):
        metrics.clopper_pearson(3, 2)
    with pytest.raises(ValueError, match="delta must lie"):
        metrics.epsilon_lower_bound(np.ones(4), np.zeros(4), delta=1.0)
    with pytest.raises(ValueError, match="at least 2 members"):
        metrics.epsilon_lower_bound(np.ones(1), np.zeros(4), delta=0.0)


def test_a_paired_difference_knows_that_both_scored_the_same_candidates() -> None:
    members, others = np.array([3.0, 1.0]), np.array([2.0, 0.0])
    # Shares below each member 1 and ½, above each other ½ and 1: variances ⅛ each, over two candidates of either kind.
    half = 1.959964 * math.sqrt(1 / 8)
    constant = (np.zeros(2), np.zeros(2))
    value, interval = metrics.auc_difference((members, others), constant)
    assert value == pytest.approx(0.25)
    assert interval[0] == pytest.approx(0.25 - half)
    assert interval[1] == pytest.approx(0.25 + half)
    # Any rising function of the same scores ranks alike: no difference, and no doubt about it.
    assert metrics.auc_difference((members, others), (np.exp(members), np.exp(others))) == (0.0, (0.0, 0.0))
    with pytest.raises(ValueError, match="must score the same candidates"):
        metrics.auc_difference((members, others), (members, others[:1]))


def test_the_interval_of_a_paired_difference_holds_as_often_as_it_says() -> None:
    draw, held = np.random.default_rng(0), 0
    for _ in range(300):
        shared = draw.normal(size=(2, 60))
        scores = [shared + draw.normal(scale=0.5, size=(2, 60)) for _ in range(2)]
        for each in scores:
            each[0] += 1.0
        low, high = metrics.auc_difference((scores[0][0], scores[0][1]), (scores[1][0], scores[1][1]))[1]
        held += low <= 0 <= high
    assert 270 <= held <= 297  # 285 expected, ± 3 standard deviations
