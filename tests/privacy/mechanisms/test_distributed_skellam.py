"""Noise that clients add inside a secure sum: as much as declared, and accounted for as what it is."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.privacy.accounting import GaussianEvent, composed_epsilon, gaussian_epsilon, pld_epsilon, rdp_epsilon
from fedkd.privacy.guarantee import Release
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.privacy.mechanisms.distributed_skellam import LEAST_VARIANCE, DistributedSkellam
from fedkd.privacy.secure_sum.fixed_point import FixedPoint
from fedkd.server.secure_round import sum_securely
from tests.support.federations import SMALL, federation

DELTA = 1e-5
RELEASE = Release(queries=200, classes=10, clients=60, examples=100, epochs=1, batch_size=32, parameters=1000)
SECURE = ("clients.count=6", "privacy.secure_aggregation={}")
NOISE = "privacy.mechanism={name: distributed_skellam, noise_multiplier: 2.0}"


def simplex(samples: int, classes: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.dirichlet(np.full(classes, 1 / sharpness), samples)


def test_a_sums_noise_has_the_declared_deviation_at_the_fewest_clients() -> None:
    mechanism = DistributedSkellam(noise_multiplier=2.0)
    honest, queries = 5, 400
    fixed_point = mechanism.fixed_point(None, queries=queries, classes=10, clients=8, honest=honest)
    nothing = np.zeros((queries, 10), dtype=np.int64)
    drawn = [
        mechanism.noised(nothing, fixed_point, honest=honest, generator=np.random.default_rng(client)).ravel()
        for client in range(honest)
    ]
    total = np.sum(drawn, axis=0) / 2**fixed_point.bits
    # 4,000 draws: the standard deviation is known to 1.1 %, a correlation to 0.016.
    assert float(total.std()) == pytest.approx(mechanism.guarantee(RELEASE).noise * math.sqrt(2), rel=0.05)
    assert mechanism.guarantee(RELEASE).noise == pytest.approx(2.0 * math.sqrt(2 * 200))
    assert float(np.abs(np.corrcoef(drawn) - np.eye(honest)).max()) < 0.08
    assert abs(float(total.mean())) < 4 * float(total.std()) / math.sqrt(total.size)


def test_noise_in_a_round_is_what_the_sum_and_the_plain_reports_differ_by(tmp_path: Path) -> None:
    parts = {name: federation(tmp_path / name, *SECURE, *more) for name, more in (("bare", ()), ("noisy", (NOISE,)))}
    noise = []
    for round in (1, 2, 3):
        totals = {
            name: sum_securely(each.experiment, each.server.job(round), 40, each.engine().run).total
            for name, each in parts.items()
        }
        noise.append((totals["noisy"] - totals["bare"]).flatten())
    drawn = torch.stack(noise)
    # Threshold 4 of 6 clients, all of which survive: σ²·6/4 with σ = 2·√(2·40); 1,200 draws.
    assert float(drawn.std()) == pytest.approx(2 * math.sqrt(80) * math.sqrt(6 / 4), rel=0.1)
    assert float((torch.corrcoef(drawn) - torch.eye(3)).abs().max()) < 0.25


@pytest.mark.parametrize("entropy", ["seed", "system"])
def test_a_round_that_is_begun_again_has_the_same_noise(tmp_path: Path, entropy: str) -> None:
    parts = federation(tmp_path, *SECURE, f"privacy.secure_aggregation.entropy={entropy}", NOISE)
    totals = [sum_securely(parts.experiment, parts.server.job(1), 40, parts.engine().run).total for _ in range(2)]
    later = sum_securely(parts.experiment, parts.server.job(2), 40, parts.engine().run).total
    back = sum_securely(parts.experiment, parts.server.job(1), 40, parts.engine().run).total
    assert torch.equal(totals[0], totals[1])
    assert torch.equal(totals[0], back), "after another one, too"
    assert float((later - totals[0]).std()) > 10


@given(st.integers(1, 12), st.integers(2, 6), st.integers(0, 2**32), st.floats(0.1, 50.0))
def test_neighbours_are_within_the_declared_sensitivity(
    queries: int, classes: int, seed: int, sharpness: float
) -> None:
    mechanism, fixed_point = DistributedSkellam(noise_multiplier=1e-9), FixedPoint(14, 3, slack=1.0)
    reports = [simplex(queries, classes, seed + index, sharpness) for index in range(2)]
    opposite = np.eye(classes)[np.zeros(queries, dtype=int)], np.eye(classes)[np.ones(queries, dtype=int)]
    for one, other in (reports, opposite):
        first, second = (
            # So little noise that none is ever drawn.
            mechanism.noised(fixed_point.encode(each), fixed_point, honest=1, generator=np.random.default_rng(0))
            for each in (one, other)
        )
        gap = (first - second).astype(np.float64)
        allowed = math.ldexp(math.sqrt(2 * queries), 14)
        assert float(np.linalg.norm(gap)) <= allowed * (1 + 1e-12)
        assert float(np.abs(gap).sum()) <= float((gap**2).sum()), "Δ₁ ≤ Δ² in whole numbers"
    assert float(np.linalg.norm(opposite[0] - opposite[1])) == pytest.approx(math.sqrt(2 * queries)), "and reach it"


def test_what_is_no_distribution_is_refused_and_a_rounding_error_is_cut_off() -> None:
    mechanism, fixed_point = DistributedSkellam(noise_multiplier=1e-9), FixedPoint(4, 3, slack=1.0)

    def noised(*row: int) -> list[int]:
        draw = np.random.default_rng(0)
        found: list[int] = mechanism.noised(np.array([row]), fixed_point, honest=1, generator=draw)[0].tolist()
        return found

    assert noised(10, 5, 1) == [10, 5, 1]
    assert noised(12, 5, 1) == [10, 5, 1], "18 sixteenths"
    with pytest.raises(ValueError, match="adds up to more than 1"):
        noised(16, 8, 8)
    with pytest.raises(ValueError, match="negative share"):
        noised(16, -1, 0)


def skellam_divergence(order: int, distance: int, variance: float) -> float:
    """The Rényi divergence of Skellam noise and the same noise shifted, summed up term by term."""
    reach = int(40 * math.sqrt(variance) + 10 * distance + 60)
    places = np.arange(-reach, reach + 1)
    log_p = stats.skellam.logpmf(places, variance / 2, variance / 2)
    log_q = stats.skellam.logpmf(places - distance, variance / 2, variance / 2)
    kept = np.isfinite(log_p) & np.isfinite(log_q)
    terms = order * log_p[kept] + (1 - order) * log_q[kept]
    return float(np.logaddexp.reduce(terms)) / (order - 1)


@pytest.mark.parametrize(("distance", "variance"), [(1, 16.0), (3, 16.0), (4, 100.0), (10, 400.0)])
@pytest.mark.parametrize("order", [2, 3, 8])
def test_the_divergence_of_skellam_noise_is_within_what_the_proof_says(
    order: int, distance: int, variance: float
) -> None:
    found = skellam_divergence(order, distance, variance)
    gaussian = order * distance**2 / (2 * variance)
    assert found > 0.75 * gaussian, "and not by much"
    assert found <= gaussian * (1 + 4 / variance), "with Δ₁ ≤ Δ²"


def test_the_event_is_a_gaussians_but_for_the_excess() -> None:
    mechanism = DistributedSkellam(noise_multiplier=3.0)
    (event,) = mechanism.dp_event(RELEASE)
    assert event.concentrated
    assert event.noise_multiplier == pytest.approx(3.0, rel=1e-5)
    assert event.noise_multiplier < 3.0
    assert 1 / event.noise_multiplier**2 == pytest.approx((1 + 4 / LEAST_VARIANCE) / 9, rel=1e-12)


@pytest.mark.parametrize(("noise", "releases"), [(5.0, 10), (1.0, 1), (20.0, 3), (0.5, 4), (200.0, 1)])
def test_concentrated_epsilon_is_above_the_gaussians_and_below_the_usual_renyi_bound(
    noise: float, releases: int
) -> None:
    event = (GaussianEvent(noise, count=releases, concentrated=True),)
    found = composed_epsilon(event, DELTA)
    assert found >= gaussian_epsilon(noise_multiplier=noise, releases=releases, delta=DELTA)
    # A library's list of orders has halves that ours leaves out, and no large ones.
    assert found <= rdp_epsilon((GaussianEvent(noise, count=releases),), DELTA) * 1.02
    assert found == composed_epsilon([GaussianEvent(noise, concentrated=True)] * releases, DELTA)


def test_concentrated_epsilon_by_hand() -> None:
    # One release at z = 1, δ = 10⁻⁵: the least over whole orders is at α = 5, 2.5 + ln(4/5) + ln(10⁵/5)/4.
    assert composed_epsilon([GaussianEvent(1.0, concentrated=True)], 1e-5) == pytest.approx(
        2.5 + math.log(0.8) + math.log(1e5 / 5) / 4, rel=1e-9
    )
    assert composed_epsilon([], 1e-5) == 0


def test_concentrated_events_have_accountants_of_their_own() -> None:
    events = (GaussianEvent(1.0, concentrated=True), GaussianEvent(1.0, sampling_rate=0.1))
    with pytest.raises(ValueError, match="no common accountant"):
        composed_epsilon(events, DELTA)
    with pytest.raises(ValueError, match="some are concentrated"):
        pld_epsilon(events[:1], DELTA)
    with pytest.raises(ValueError, match="nothing is known of sampling"):
        GaussianEvent(1.0, sampling_rate=0.5, concentrated=True)


def test_the_ledger_keeps_what_kind_of_event_it_was_charged() -> None:
    ledger, again = PrivacyLedger(), PrivacyLedger()
    for round in (1, 2):
        ledger.charge(0, round, (GaussianEvent(4.0, concentrated=True),))
    again.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert again.epsilon(DELTA) == ledger.epsilon(DELTA) == composed_epsilon(ledger.composed(0), DELTA)
    assert again.composed(0) == (GaussianEvent(4.0, count=2, concentrated=True),)


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_a_target_is_met_and_not_by_much(epsilon: float) -> None:
    mechanism = DistributedSkellam(target_epsilon=epsilon).calibrated({0: (RELEASE, 7)}, DELTA)
    found = mechanism.epsilon(releases=7, delta=DELTA, release=RELEASE)
    assert found is not None
    assert 0.99 * epsilon < found <= epsilon


@pytest.mark.parametrize("noise", [0.05, 1.0, 50.0, 3000.0])
@pytest.mark.parametrize(("queries", "clients"), [(10, 5), (2000, 100)])
def test_sum_and_noise_fit_into_words_and_the_proof_holds(noise: float, queries: int, clients: int) -> None:
    mechanism, honest = DistributedSkellam(noise_multiplier=noise), int(0.67 * clients)
    deviation = noise * math.sqrt(2 * queries)
    fixed_point = mechanism.fixed_point(None, queries=queries, classes=10, clients=clients, honest=honest)
    assert (clients + 8 * deviation * math.sqrt(clients / honest)) * 2**fixed_point.bits < 2**31
    assert (deviation * 2**fixed_point.bits) ** 2 >= LEAST_VARIANCE
    assert fixed_point.error_bound < 0.1 * deviation, "the noise drowns the rounding"


def test_a_run_reports_what_it_spent_and_pays_again_for_nothing(tmp_path: Path) -> None:
    config = load_config(SMALL, [*SECURE, NOISE])
    summary = run_experiment(config, tmp_path / "run").summary
    event = plugins.build(plugins.MECHANISM, "distributed_skellam", {"noise_multiplier": 2.0}).dp_event(RELEASE)
    assert summary.epsilon == composed_epsilon(event * 3, DELTA)
    assert summary.guarantee is not None
    assert (summary.guarantee.unit, summary.guarantee.adversary) == ("client", "distributed")
    assert (
        "an observer of the secure sum, the server and the tolerated colluders included" in summary.guarantee.sentence()
    )
    assert set(summary.client_epsilon) == set(range(6))
    longer = run_experiment(load_config(SMALL, [*SECURE, NOISE, "rounds=4"]), tmp_path / "run", resume=True).summary
    assert longer.epsilon == composed_epsilon(event * 4, DELTA)
    whole = run_experiment(load_config(SMALL, [*SECURE, NOISE, "rounds=4"]), tmp_path / "whole").summary
    assert (whole.student_sha256, whole.epsilon) == (longer.student_sha256, longer.epsilon)
