"""Accounting: reference values, the exact formula far out, and what any accountant must satisfy."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.privacy.accounting import (
    GaussianEvent,
    calibrated_noise_multiplier,
    composed_epsilon,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_noise_multiplier,
    pld_epsilon,
    rdp_epsilon,
)

DELTA = 1e-5
NOISE = st.floats(0.05, 1e3)
DELTAS = st.floats(1e-12, 0.5)


def test_the_gaussian_reference_by_every_accountant() -> None:
    event = (GaussianEvent(5.0, count=10),)
    assert gaussian_epsilon(noise_multiplier=5.0, releases=10, delta=DELTA) == pytest.approx(2.594, abs=5e-4)
    assert composed_epsilon(event, DELTA) == gaussian_epsilon(noise_multiplier=5.0, releases=10, delta=DELTA)
    assert pld_epsilon(event, DELTA) == pytest.approx(2.594, abs=5e-4)
    assert rdp_epsilon(event, DELTA) == pytest.approx(2.814, abs=5e-4)


def test_the_poisson_reference_by_every_accountant() -> None:
    event = (GaussianEvent(1.1, sampling_rate=0.032, count=310),)
    finest = pld_epsilon(event, DELTA)
    assert finest == pytest.approx(3.028, abs=1e-3)
    assert rdp_epsilon(event, DELTA) == pytest.approx(3.399, abs=1e-3)
    # A looser grid only ever rounds up.
    assert finest <= composed_epsilon(event, DELTA) <= finest * 1.001


@pytest.mark.parametrize(("noise", "count"), [(0.7, 1), (5.0, 10), (20.0, 3), (300.0, 1000)])
def test_privacy_loss_distributions_agree_with_the_closed_form_and_renyi_is_above(noise: float, count: int) -> None:
    event = (GaussianEvent(noise, count=count),)
    exact = composed_epsilon(event, DELTA)
    assert pld_epsilon(event, DELTA) == pytest.approx(exact, rel=1e-3)
    assert rdp_epsilon(event, DELTA) >= exact


@pytest.mark.parametrize(
    ("mu", "delta", "epsilon"),
    [
        # Bisection on the closed form with 400 digits.
        (1e-6, 1e-9, 2.71780592879722e-6),
        (1e-4, 1e-8, 3.3630589470766e-4),
        (1e-3, 1e-5, 1.93872496986011e-3),
        (math.sqrt(0.4), 1e-5, 2.59438338052761),
        (1.0, 1e-5, 4.37717809568122),
        (5.0, 1e-10, 43.6629038690199),
        (50.0, 1e-5, 1462.28501596478),
        (1000.0, 1e-6, 504752.426678359),
    ],
)
def test_the_closed_form_far_out(mu: float, delta: float, epsilon: float) -> None:
    assert gaussian_epsilon(noise_multiplier=1 / mu, delta=delta) == pytest.approx(epsilon, rel=1e-8)


def test_the_edges_of_the_closed_form() -> None:
    assert gaussian_epsilon(noise_multiplier=0.0, delta=DELTA) == math.inf
    assert gaussian_epsilon(noise_multiplier=1.0, releases=0, delta=DELTA) == 0.0
    # δ(0) = 2Φ(μ/2) − 1 ≈ 0.4μ: with little enough to see, no ε is needed.
    assert gaussian_epsilon(noise_multiplier=1e9, delta=DELTA) == 0.0
    assert composed_epsilon((), DELTA) == 0.0
    # Far beyond any use, still finite and about μ²/2.
    assert gaussian_epsilon(noise_multiplier=1e-100, delta=DELTA) == pytest.approx(0.5e200, rel=1e-6)


@given(NOISE, st.integers(1, 1000), DELTAS)
def test_delta_and_noise_are_inverses_of_epsilon(noise: float, releases: int, delta: float) -> None:
    epsilon = gaussian_epsilon(noise_multiplier=noise, releases=releases, delta=delta)
    if epsilon > 0:
        assert gaussian_delta(noise_multiplier=noise, releases=releases, epsilon=epsilon) == pytest.approx(delta, 1e-5)
    if epsilon > 1e-6:
        found = gaussian_noise_multiplier(epsilon=epsilon, releases=releases, delta=delta)
        assert found == pytest.approx(noise, rel=1e-6)


@given(NOISE, st.integers(1, 1000), DELTAS)
def test_epsilon_grows_with_releases_and_falls_with_noise_and_delta(noise: float, releases: int, delta: float) -> None:
    def epsilon(noise: float = noise, releases: int = releases, delta: float = delta) -> float:
        return gaussian_epsilon(noise_multiplier=noise, releases=releases, delta=delta)

    here = epsilon()
    assert epsilon(releases=releases + 1) >= here
    assert epsilon(noise=noise * 1.1) <= here
    assert epsilon(delta=delta * 1.1) <= here
    if here > 0:
        assert epsilon(releases=releases * 2) > here
    # R releases at z are one at z/√R.
    assert epsilon(noise=noise * math.sqrt(releases)) == pytest.approx(epsilon(releases=1), rel=1e-9, abs=1e-12)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.6, 5.0), st.floats(0.01, 0.5), st.integers(1, 200))
def test_sampling_is_monotone_and_between_nothing_and_everything(noise: float, rate: float, count: int) -> None:
    here = composed_epsilon((GaussianEvent(noise, rate, count),), DELTA)
    slack = 1.001 * here + 5e-4
    assert 0 <= here <= composed_epsilon((GaussianEvent(noise, 1.0, count),), DELTA) * 1.001
    assert here <= 1.001 * rdp_epsilon((GaussianEvent(noise, rate, count),), DELTA) + 5e-4
    assert composed_epsilon((GaussianEvent(noise * 1.5, rate, count),), DELTA) <= slack
    assert composed_epsilon((GaussianEvent(noise, rate / 2, count),), DELTA) <= slack
    assert composed_epsilon((GaussianEvent(noise, rate, count + 20),), DELTA) * 1.001 + 5e-4 >= here


def test_unlike_events_compose() -> None:
    plain, sampled = GaussianEvent(4.0, count=3), GaussianEvent(1.1, 0.032, 310)
    together = composed_epsilon((plain, sampled), DELTA)
    parts = composed_epsilon((plain,), DELTA), composed_epsilon((sampled,), DELTA)
    assert max(parts) < together < sum(parts)
    assert together == pytest.approx(pld_epsilon((sampled, plain), DELTA), rel=1e-3)
    # 3 at z = 4 and 4 at z = 8 are μ² = 3/16 + 4/64 = 1/4: one at z = 2.
    mixed = composed_epsilon((plain, GaussianEvent(8.0, count=4)), DELTA)
    assert mixed == pytest.approx(gaussian_epsilon(noise_multiplier=2.0, delta=DELTA), rel=1e-12)


def test_split_events_are_one() -> None:
    whole = composed_epsilon((GaussianEvent(1.1, 0.032, 310),), DELTA)
    assert composed_epsilon((GaussianEvent(1.1, 0.032, 300), GaussianEvent(1.1, 0.032, 10)), DELTA) == whole


@pytest.mark.parametrize(
    ("events", "target"),
    [
        (lambda z: (GaussianEvent(z, count=10),), 0.01),
        (lambda z: (GaussianEvent(z, count=10),), 8.0),
        (lambda z: (GaussianEvent(z, 0.05, 60),), 8.0),
        (lambda z: (GaussianEvent(z, 0.05, 60),), 0.5),
        (lambda z: (GaussianEvent(2 * z), GaussianEvent(z, count=4)), 3.0),
    ],
)
def test_calibration_meets_the_target_and_wastes_little(
    events: Callable[[float], tuple[GaussianEvent, ...]], target: float
) -> None:
    noise = calibrated_noise_multiplier(events, epsilon=target, delta=DELTA)
    assert composed_epsilon(events(noise), DELTA) <= target
    assert composed_epsilon(events(noise / 1.002), DELTA) > target


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: gaussian_epsilon(noise_multiplier=-1.0, delta=DELTA), "noise_multiplier"),
        (lambda: gaussian_epsilon(noise_multiplier=math.nan, delta=DELTA), "noise_multiplier"),
        (lambda: gaussian_epsilon(noise_multiplier=1.0, releases=-1, delta=DELTA), "releases"),
        (lambda: gaussian_epsilon(noise_multiplier=1.0, delta=0.0), "delta"),
        (lambda: composed_epsilon((GaussianEvent(1.0),), 1.0), "delta"),
        (lambda: composed_epsilon((GaussianEvent(1.0, 0.5),), -1.0), "delta"),
        (lambda: GaussianEvent(0.0), "noise_multiplier"),
        (lambda: GaussianEvent(math.inf), "noise_multiplier"),
        (lambda: GaussianEvent(1.0, 0.0), "sampling_rate"),
        (lambda: GaussianEvent(1.0, 1.5), "sampling_rate"),
        (lambda: GaussianEvent(1.0, count=0), "count"),
        (lambda: gaussian_delta(noise_multiplier=0.0, epsilon=1.0), "noise_multiplier"),
        (lambda: gaussian_delta(noise_multiplier=1.0, epsilon=-1.0), "epsilon"),
        (lambda: gaussian_noise_multiplier(epsilon=0.0, delta=DELTA), "epsilon"),
        (lambda: calibrated_noise_multiplier(lambda z: (GaussianEvent(z),), epsilon=math.inf, delta=DELTA), "epsilon"),
    ],
)
def test_values_out_of_range_are_refused_by_name(call: Callable[[], object], word: str) -> None:
    with pytest.raises(ValueError, match=rf"^{word} must"):
        call()
