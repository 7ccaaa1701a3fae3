"""Noise on logits: as much as declared, fresh every time, over reports as close as declared."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import Float
from scipy.stats import beta
from torch import Tensor

from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.core.messages import LOGIT_BOUND
from fedkd.privacy.accounting import composed_epsilon, gaussian_epsilon
from fedkd.privacy.clipping import clip_report, clip_vectors
from fedkd.privacy.guarantee import Release, sensitivity_of_sum
from fedkd.privacy.mechanisms.gaussian_logits import GaussianLogits
from fedkd.privacy.noise import seeded_noise
from fedkd.privacy.private import Private

DELTA = 1e-5
QUERIES, CLASSES = 4, 3
RELEASE = Release(queries=QUERIES, classes=CLASSES, clients=10, examples=100, epochs=1, batch_size=32, parameters=1000)

ADVERSARIAL = arrays(
    np.float32,
    (QUERIES, CLASSES),
    elements=st.one_of(
        st.floats(width=32), st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 3.4e38, -3.4e38, 1e-45])
    ),
)


def draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(ADVERSARIAL, ADVERSARIAL, st.floats(1e-3, 1e3), st.sampled_from(["vector", "report"]))
def test_no_two_reports_are_further_apart_than_declared(
    first: np.ndarray, second: np.ndarray, clip: float, per: str
) -> None:
    mechanism = plugins.build(plugins.MECHANISM, "gaussian_logits", {"noise_multiplier": 1.0, "clip": clip, "per": per})
    clipping = clip_vectors if per == "vector" else clip_report
    one, other = (clipping(torch.from_numpy(report), clip) for report in (first, second))
    assert one.isfinite().all()
    distance = float((one - other).norm())
    assert distance <= mechanism.guarantee(RELEASE).sensitivity * (1 + 1e-12)


@pytest.mark.parametrize(("per", "sensitivity"), [("vector", 2 * 3.0 * math.sqrt(4)), ("report", 2 * 3.0)])
def test_the_declared_sensitivity_is_reached(per: str, sensitivity: float) -> None:
    mechanism = plugins.build(plugins.MECHANISM, "gaussian_logits", {"noise_multiplier": 1.0, "clip": 3.0, "per": per})
    assert mechanism.guarantee(RELEASE).sensitivity == pytest.approx(sensitivity)
    row = torch.tensor([1e6, -1e6, 0.0]).repeat(4, 1)
    clipping = clip_vectors if per == "vector" else clip_report
    assert float((clipping(row, 3.0) - clipping(-row, 3.0)).norm()) == pytest.approx(sensitivity)


def test_small_reports_are_left_alone_but_for_what_softmax_does_not_see() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    clipped = clip_vectors(logits, 10.0)
    torch.testing.assert_close(clipped, torch.tensor([[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("per", ["vector", "report"])
def test_noise_is_as_large_as_declared_and_independent_over_clients_and_rounds(per: str) -> None:
    mechanism = plugins.build(plugins.MECHANISM, "gaussian_logits", {"noise_multiplier": 1.5, "clip": 2.0, "per": per})
    logits = torch.zeros(50, 10)
    sensitivity = 2 * 2.0 * (math.sqrt(50) if per == "vector" else 1.0)
    drawn = torch.stack(
        [
            mechanism.privatise(logits, seeded_noise(0, round=round, client=client, purpose="noise", attempt=""))
            for round in range(1, 5)
            for client in range(5)
        ]
    ).flatten(1)
    # 10,000 draws: the standard deviation is known to 0.7 %, a correlation of 500 pairs to 0.045.
    assert float(drawn.std()) == pytest.approx(1.5 * sensitivity, rel=0.03)
    assert abs(float(drawn.mean())) < 0.05 * 1.5 * sensitivity
    correlation = torch.corrcoef(drawn) - torch.eye(len(drawn))
    assert float(correlation.abs().max()) < 0.25


def test_what_is_released_can_be_reported_whatever_comes_in() -> None:
    mechanism = GaussianLogits(noise_multiplier=1e9)
    worst = torch.tensor([[math.nan, math.inf, -math.inf], [3e38, -3e38, 0.0]])
    released = mechanism.privatise(worst, draw(0))
    assert released.dtype == torch.float32
    assert float(released.abs().max()) <= LOGIT_BOUND
    torch.testing.assert_close(released, mechanism.privatise(worst, draw(0)), rtol=0, atol=0)


def test_replace_one_is_add_or_remove_at_half_the_noise() -> None:
    assert sensitivity_of_sum(3.0, "replace_one") == 2 * sensitivity_of_sum(3.0, "add_or_remove") == 6.0
    # σ = 30 on reports of norm up to 3: z = 10 if one may be missing, 5 if one may be replaced.
    mechanism = GaussianLogits(noise_multiplier=5.0, clip=3.0, per="report")
    assert mechanism.guarantee(RELEASE).noise == pytest.approx(30.0)
    assert mechanism.epsilon(release=RELEASE, releases=10, delta=DELTA) == pytest.approx(
        gaussian_epsilon(noise_multiplier=10.0 / 2, releases=10, delta=DELTA)
    )
    assert mechanism.epsilon(release=RELEASE, releases=10, delta=DELTA) == pytest.approx(2.594, abs=5e-4)


def test_a_target_is_met_over_the_rounds_of_the_client_that_takes_part_most() -> None:
    releases = {0: (RELEASE, 3), 1: (RELEASE, 7)}
    mechanism = GaussianLogits(target_epsilon=4.0).calibrated(releases, DELTA)
    assert mechanism.target_epsilon is None
    spent = mechanism.epsilon(release=RELEASE, releases=7, delta=DELTA)
    assert spent is not None
    assert 3.99 < spent <= 4.0


@pytest.mark.parametrize(
    "options",
    [{}, {"noise_multiplier": 1.0, "target_epsilon": 1.0}, {"noise_multiplier": 0.0}, {"target_epsilon": -1.0}],
)
@pytest.mark.parametrize("name", ["gaussian_logits", "dp_sgd"])
def test_noise_is_given_once_and_positive(name: str, options: dict[str, float]) -> None:
    with pytest.raises(PluginError, match=r"noise_multiplier|target_epsilon"):
        plugins.build(plugins.MECHANISM, name, options)


@pytest.mark.parametrize("name", ["gaussian_logits", "dp_sgd"])
def test_a_target_has_to_be_resolved_before_use(name: str) -> None:
    mechanism: Private = plugins.build(plugins.MECHANISM, name, {"target_epsilon": 1.0})
    with pytest.raises(ValueError, match="calibrated"):
        mechanism.dp_event(RELEASE)


# Auditing: in 2,000 trials, half of them to choose a threshold, the bound can reach ε = 4.9, so claims are kept below.


def epsilon_lower_bound(
    without: Float[np.ndarray, " trials"],
    present: Float[np.ndarray, " trials"],
    delta: float,
    confidence: float = 0.999,
) -> float:
    """A bound that ε exceeds with ``confidence``, from a score's values on two neighbouring inputs.

    For (ε, δ)-DP every threshold has TPR ≤ e^ε·FPR + δ. The threshold is chosen on the first half of the trials; on the
    second the rates are bounded after Clopper and Pearson.
    """
    half = len(without) // 2
    candidates = np.quantile(np.concatenate([without[:half], present[:half]]), np.linspace(0, 1, 101))
    best = max(candidates, key=lambda threshold: _bound(without[:half], present[:half], threshold, delta, confidence))
    return _bound(without[half:], present[half:], float(best), delta, confidence)


def _bound(
    without: Float[np.ndarray, " trials"],
    present: Float[np.ndarray, " trials"],
    threshold: float,
    delta: float,
    confidence: float,
) -> float:
    trials, risk = len(without), (1 - confidence) / 2
    false, true = int((without >= threshold).sum()), int((present >= threshold).sum())
    largest_false = 1.0 if false == trials else float(beta.ppf(1 - risk, false + 1, trials - false))
    least_true = 0.0 if true == 0 else float(beta.ppf(risk, true, trials - true + 1))
    return math.log((least_true - delta) / largest_false) if least_true > delta else 0.0


def _score(released: Tensor) -> float:
    # The direction in which the two inputs differ.
    return float(released[0, 0] - released[0, 1])


Released = Callable[[Tensor, int], Tensor]
FIRST = torch.tensor([[1e3, -1e3]])


def audited(release: Released, claim: GaussianLogits, trials: int = 2000) -> tuple[float, float]:
    """The bound on ε of a single release, and what the mechanism claims."""
    scores = [
        np.array([_score(release(logits, seed)) for seed in range(start, start + trials)])
        for logits, start in ((-FIRST, 0), (FIRST, trials))
    ]
    return epsilon_lower_bound(scores[0], scores[1], DELTA), composed_epsilon(claim.dp_event(RELEASE), DELTA)


def test_auditing_finds_nothing_wrong_with_the_mechanism() -> None:
    mechanism = GaussianLogits(noise_multiplier=1.0)
    bound, claimed = audited(lambda logits, seed: mechanism.privatise(logits, draw(seed)), mechanism)
    assert 0.8 < bound <= claimed


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_auditing_finds_missing_noise(share: float) -> None:
    mechanism = GaussianLogits(noise_multiplier=1.0)

    def broken(logits: Tensor, seed: int) -> Tensor:
        clean = clip_vectors(logits, mechanism.clip)
        return clean + share * (mechanism.privatise(logits, draw(seed)) - clean)

    bound, claimed = audited(broken, mechanism)
    assert bound > claimed


@pytest.mark.parametrize("repeated", ["round", "client"])
def test_auditing_finds_noise_that_is_used_twice(repeated: str) -> None:
    """The same draw beside a known report, in another round or of another client, tells what the noise was."""
    mechanism = GaussianLogits(noise_multiplier=1.5)

    def difference(logits: Tensor, seed: int, *, fresh: bool) -> Tensor:
        known = mechanism.privatise(torch.zeros_like(logits), draw(seed))
        return mechanism.privatise(logits, draw(seed + 10**6 if fresh else seed)) - known

    claim = mechanism if repeated == "client" else GaussianLogits(noise_multiplier=1.5 / math.sqrt(2))
    bound, claimed = audited(lambda logits, seed: difference(logits, seed, fresh=False), claim)
    assert bound > claimed
    bound, claimed = audited(lambda logits, seed: difference(logits, seed, fresh=True), claim)
    assert bound <= claimed


def test_constant_scores_say_nothing() -> None:
    assert epsilon_lower_bound(np.zeros(1000), np.zeros(1000), DELTA) <= 0.0
