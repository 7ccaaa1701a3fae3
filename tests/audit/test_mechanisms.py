"""Audits refute mechanisms that do not do what is claimed of them, and leave those alone that do."""

import numpy as np
import pytest

from fedkd.audit.mechanisms import (
    audit_dp_sgd,
    audit_logit_mechanism,
    audit_teacher,
    client_stream,
    teacher_stream,
    training_stream,
)
from fedkd.audit.metrics import Confidence
from fedkd.privacy.accounting import gaussian_epsilon
from fedkd.privacy.mechanism import PrivateTraining
from fedkd.privacy.mechanisms.gaussian_logits import GaussianLogits
from strategies.gaussian_mean import GaussianMean
from strategies.gnmax import GNMax

DELTA, ROUNDS, TRIALS = 1e-5, 2, 400
BOUND = Confidence(DELTA)
NOISE = 2.5
"""σ/Δ, at which two rounds cost a claimed ε of 2.27."""
CLAIM = gaussian_epsilon(noise_multiplier=NOISE, releases=ROUNDS, delta=DELTA)


def test_correct_noise_on_logits_is_not_refuted() -> None:
    for per in ("vector", "report"):
        mechanism = GaussianLogits(noise_multiplier=NOISE, per=per)
        assert not audit_logit_mechanism(mechanism, bound=BOUND, trials=TRIALS).refutes(CLAIM)


def test_an_audit_finds_a_good_part_of_what_is_there() -> None:
    # Little noise, so that a bound of 0 would mean an audit that looks in the wrong place.
    found = audit_logit_mechanism(GaussianLogits(noise_multiplier=0.5), bound=BOUND, trials=TRIALS)
    assert found.epsilon_lower_bound > 1.5
    assert not found.refutes(gaussian_epsilon(noise_multiplier=0.5, releases=ROUNDS, delta=DELTA))


def test_missing_noise_on_logits() -> None:
    assert audit_logit_mechanism(GaussianLogits(noise_multiplier=1e-9), bound=BOUND, trials=TRIALS).refutes(CLAIM)


def test_a_tenth_of_the_noise_on_logits() -> None:
    assert audit_logit_mechanism(GaussianLogits(noise_multiplier=NOISE / 10), bound=BOUND, trials=TRIALS).refutes(CLAIM)


def test_noise_on_logits_that_is_drawn_once() -> None:
    found = audit_logit_mechanism(
        GaussianLogits(noise_multiplier=NOISE),
        bound=BOUND,
        trials=TRIALS,
        stream=lambda seed, round, client: client_stream(seed, 1, client),
    )
    assert found.refutes(CLAIM)


def test_noise_on_logits_that_all_clients_share() -> None:
    found = audit_logit_mechanism(
        GaussianLogits(noise_multiplier=NOISE),
        bound=BOUND,
        trials=TRIALS,
        stream=lambda seed, round, client: client_stream(seed, round, 0),
    )
    assert found.refutes(CLAIM)
    assert found.statistic == "difference to another client"


VOTES = 10
"""Queries of a round; each is a release of its own."""
VOTE_NOISE = NOISE * np.sqrt(2 * VOTES)
VOTE_CLAIM = gaussian_epsilon(noise_multiplier=VOTE_NOISE / np.sqrt(2), releases=ROUNDS * VOTES, delta=DELTA)


def test_the_noise_of_votes() -> None:
    def audited(noise: float, *, once: bool = False) -> bool:
        stream = (lambda seed, round, client: teacher_stream(seed, 1, client)) if once else teacher_stream
        return audit_teacher(
            lambda: GNMax(noise=noise), bound=BOUND, queries=VOTES, trials=TRIALS, stream=stream
        ).refutes(VOTE_CLAIM)

    assert pytest.approx(CLAIM) == VOTE_CLAIM
    assert not audited(VOTE_NOISE)
    assert audited(1e-9)
    assert audited(VOTE_NOISE / 20)


def test_the_noise_of_a_mean_teacher() -> None:
    def audited(noise: float, *, once: bool = False) -> bool:
        stream = (lambda seed, round, client: teacher_stream(seed, 1, client)) if once else teacher_stream
        sigma = noise * GaussianMean().sensitivity(VOTES)
        return audit_teacher(
            lambda: GaussianMean(noise=sigma), bound=BOUND, queries=VOTES, trials=TRIALS, stream=stream
        ).refutes(CLAIM)

    assert not audited(NOISE)
    assert audited(NOISE / 10)
    assert audited(NOISE, once=True)


PRIVATE = PrivateTraining(noise_multiplier=NOISE, clip_norm=1.0)


@pytest.mark.parametrize("clip_norm", [0.1, 10.0])
def test_correct_private_training_is_not_refuted(clip_norm: float) -> None:
    private = PrivateTraining(NOISE, clip_norm)
    assert not audit_dp_sgd(private, bound=BOUND).refutes(CLAIM)
    assert not audit_dp_sgd(private, bound=BOUND, epochs=2).refutes(
        gaussian_epsilon(noise_multiplier=NOISE, releases=4, delta=DELTA)
    )


def test_the_audit_of_private_training_finds_a_good_part_of_what_is_there() -> None:
    found = audit_dp_sgd(PrivateTraining(0.5, 1.0), bound=BOUND)
    assert found.epsilon_lower_bound > 1.5
    assert not found.refutes(gaussian_epsilon(noise_multiplier=0.5, releases=ROUNDS, delta=DELTA))


def test_private_training_with_too_little_noise() -> None:
    assert audit_dp_sgd(PrivateTraining(NOISE / 10, 1.0), bound=BOUND).refutes(CLAIM)
    assert audit_dp_sgd(PrivateTraining(1e-9, 1.0), bound=BOUND).refutes(CLAIM)


def test_private_training_with_noise_that_is_drawn_once() -> None:
    found = audit_dp_sgd(PRIVATE, bound=BOUND, stream=lambda seed, round, client: training_stream(seed, 1, client))
    assert found.refutes(CLAIM)
    assert found.statistic == "difference of two rounds"


def test_private_training_with_noise_that_all_clients_share() -> None:
    found = audit_dp_sgd(PRIVATE, bound=BOUND, stream=lambda seed, round, client: training_stream(seed, round, 0))
    assert found.refutes(CLAIM)
    assert found.statistic == "difference to another client"


def test_audits_are_reproducible() -> None:
    first, second = (audit_dp_sgd(PRIVATE, bound=Confidence(DELTA, seed=3), canaries=200) for _ in range(2))
    assert first == second


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="trials must be at least 8"):
        audit_logit_mechanism(GaussianLogits(noise_multiplier=1.0), bound=BOUND, trials=4)
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        audit_logit_mechanism(GaussianLogits(noise_multiplier=1.0), bound=BOUND, rounds=0)
    with pytest.raises(ValueError, match="clients must be odd"):
        audit_teacher(lambda: GNMax(noise=1.0), bound=BOUND, clients=10)
    with pytest.raises(ValueError, match="canaries must be at least 8"):
        audit_dp_sgd(PRIVATE, bound=BOUND, canaries=2)
