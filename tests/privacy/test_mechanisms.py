"""All mechanisms: what they declare, and what the ones without proof let out."""

import math

import numpy as np
import pytest
import torch

from fedkd.core import plugins
from fedkd.core.errors import PluginError
from fedkd.privacy.guarantee import Release
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.preview import preview, private_part
from fedkd.privacy.private import Private
from fedkd.privacy.signal_to_noise import signal_to_noise
from strategies.gaussian_mean import GaussianMean
from strategies.gnmax import GNMax

NOISE = {"distributed_skellam", "dp_sgd", "gaussian_logits"}
NAMES = plugins.names(plugins.MECHANISM)
RELEASE = Release(queries=200, classes=10, clients=50, examples=320, epochs=2, batch_size=32, parameters=10_000)
LOGITS = torch.tensor([[4.0, 1.0, 0.0, -2.0], [0.0, 0.0, 3.0, 2.0]])


def build(name: str, **options: object) -> LogitMechanism:
    if name in NOISE and not options:
        options = {"noise_multiplier": 2.0}
    mechanism: LogitMechanism = plugins.build(plugins.MECHANISM, name, options)
    return mechanism


def private(name: str, **options: object) -> Private:
    mechanism = build(name, **options)
    assert isinstance(mechanism, Private)
    return mechanism


def release(name: str, **options: object) -> torch.Tensor:
    return build(name, **options).privatise(LOGITS.clone(), np.random.default_rng(0))


def test_the_shipped_mechanisms() -> None:
    assert set(NAMES) >= NOISE | {"none", "label_only", "temperature", "top_k"}


@pytest.mark.parametrize("name", NAMES)
def test_a_mechanism_returns_finite_logits_of_the_same_shape_and_repeats_itself(name: str) -> None:
    first = release(name)
    assert first.shape == LOGITS.shape
    assert first.isfinite().all()
    assert torch.equal(first, release(name))


@pytest.mark.parametrize("name", NAMES)
def test_epsilon_is_none_exactly_where_nothing_is_proved(name: str) -> None:
    mechanism = build(name)
    epsilon = mechanism.epsilon(release=RELEASE, releases=3, delta=1e-5)
    lines = preview(private_part(mechanism), {0: (RELEASE, 3)}, 1e-5)
    if name in NOISE:
        assert epsilon is not None
        assert f"ε = {epsilon:.4g} at δ = 1e-05" in lines[1]
    else:
        assert epsilon is None
        assert lines == ("privacy: no formal privacy guarantee (no DP)",)


@pytest.mark.parametrize("part", [private("dp_sgd"), private("gaussian_logits"), GNMax(3.0), GaussianMean(3.0)])
def test_the_declared_noise_is_the_accounted_noise(part: Private) -> None:
    guarantee = part.guarantee(RELEASE)
    (event,) = part.dp_event(RELEASE)
    assert guarantee.noise_multiplier == pytest.approx(event.noise_multiplier)
    text = guarantee.sentence()
    for word in (guarantee.unit, f"z = σ/Δ = {event.noise_multiplier:.4g}", "not covered"):
        assert word in text
    assert ("more or less" in text) == (guarantee.neighbouring == "add_or_remove")
    assert ("is trusted" in text) == (guarantee.adversary == "central")


def test_epsilon_needs_to_know_the_release() -> None:
    with pytest.raises(ValueError, match="release must say"):
        build("dp_sgd").epsilon(releases=3, delta=1e-5)


def test_two_proofs_have_no_common_epsilon() -> None:
    teacher = GNMax()
    assert private_part(build("top_k"), teacher) is teacher
    with pytest.raises(ValueError, match=r"DpSgd and GNMax .* use one of them"):
        private_part(build("dp_sgd"), teacher)


def test_label_only_tells_the_top_class_and_nothing_else() -> None:
    other = build("label_only").privatise(torch.tensor([[0.5, 0.1, 0.4, 0.3]]), np.random.default_rng(0))
    released = release("label_only")
    assert torch.equal(released[:1], other)
    torch.testing.assert_close(released.softmax(1)[1], torch.tensor([0.01 / 3, 0.01 / 3, 0.99, 0.01 / 3]))


def test_top_k_spreads_what_is_left_evenly() -> None:
    released, given = release("top_k", k=2).softmax(1), LOGITS.softmax(1)
    torch.testing.assert_close(released[0, :2], given[0, :2], rtol=1e-3, atol=0)
    rest = float(given[0, 2:].sum()) / 2
    assert released[0, 2:].tolist() == pytest.approx([rest, rest], rel=1e-3)


def test_temperature_divides() -> None:
    assert torch.equal(release("temperature", value=2.0), LOGITS / 2)


@pytest.mark.parametrize(("name", "option"), [("temperature", "value"), ("top_k", "k"), ("label_only", "confidence")])
def test_options_out_of_range_are_refused(name: str, option: str) -> None:
    with pytest.raises(PluginError, match=f"{option} must"):
        build(name, **{option: 0})


@pytest.mark.parametrize("adversary", ["local", "central"])
def test_the_signal_to_noise_ratio_by_hand_and_by_simulation(adversary: str) -> None:
    # 400 clients, N·K = 200·10, z = 0.2: √n/(z√(NK)) = 20/(0.2·44.7) = 2.236, and 20 times that centrally.
    local = adversary == "local"
    ratio = signal_to_noise(
        noise_multiplier=0.2,
        clients=400,
        queries=200,
        classes=10,
        adversary="local" if local else "central",
        replace_one=False,
    )
    assert ratio == pytest.approx(2.236 if local else 44.72, rel=1e-3)
    draw = torch.Generator().manual_seed(0)
    report = torch.full((200, 10), 1.0)
    noise = 0.2 * float(report.norm())
    total = torch.randn(400 if local else 1, 200, 10, generator=draw).sum(dim=0)
    assert float(report.mean() / (noise * total / 400).std()) == pytest.approx(ratio, rel=0.1)


def test_the_preview_says_when_it_is_hopeless_and_what_would_help() -> None:
    few = Release(queries=400, classes=10, clients=10, examples=100, epochs=1, batch_size=32, parameters=1)
    mechanism = private("gaussian_logits", target_epsilon=8.0).calibrated({0: (few, 5)}, 1e-5)
    line = preview(private_part(mechanism), {0: (few, 5)}, 1e-5)[2]
    assert "the noise dominates the signal" in line
    # √10/(2z·√4000) with z = 1.342, the noise of ε = 8 over five rounds: 0.01863; 10/0.01863² clients for a ratio of 1.
    assert "0.019" in line
    assert "28,8" in line


def test_a_release_is_checked() -> None:
    with pytest.raises(ValueError, match="queries must be at least 1, got 0"):
        Release(queries=0, classes=10, clients=10, examples=100, epochs=1, batch_size=32, parameters=1)


def test_dp_sgd_composes_over_rounds_and_local_steps() -> None:
    (event,) = private("dp_sgd", noise_multiplier=1.1).dp_event(RELEASE)
    # 320 examples in batches of 32, two epochs: 20 steps of rate 0.1.
    assert (event.noise_multiplier, event.sampling_rate, event.count) == (1.1, 0.1, 20)
    fewer = Release(queries=1, classes=10, clients=1, examples=20, epochs=3, batch_size=32, parameters=1)
    (event,) = private("dp_sgd", noise_multiplier=1.1).dp_event(fewer)
    assert (event.sampling_rate, event.count) == (1.0, 3)
    once = build("dp_sgd").epsilon(release=RELEASE, releases=1, delta=1e-5)
    often = build("dp_sgd").epsilon(release=RELEASE, releases=10, delta=1e-5)
    assert once is not None
    assert often is not None
    assert once < often < 10 * once


def test_dp_sgd_meets_a_target_for_the_client_that_gives_most() -> None:
    releases = {
        client: (
            Release(queries=1, classes=2, clients=3, examples=examples, epochs=1, batch_size=32, parameters=1),
            rounds,
        )
        for client, (examples, rounds) in enumerate([(50, 1), (200, 4), (500, 2)])
    }
    mechanism = private("dp_sgd", target_epsilon=3.0).calibrated(releases, 1e-5)
    assert isinstance(mechanism, LogitMechanism)
    spent = [
        mechanism.epsilon(release=release, releases=rounds, delta=1e-5) or math.inf
        for release, rounds in releases.values()
    ]
    assert 2.98 < max(spent) <= 3.0
