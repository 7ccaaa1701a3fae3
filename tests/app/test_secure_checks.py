"""What secure aggregation does not go with is refused, all at once, with reasons and remedies."""

import pytest

from fedkd.aggregation.strategy import LogitAggregator, sums
from fedkd.app.checks import check, composition_faults
from fedkd.app.secure_checks import secure_lines
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.core.errors import ConfigError
from fedkd.experiment import Experiment
from fedkd.server.server import Server
from tests.support.federations import SMALL, experiment_of

SECURE = "privacy.secure_aggregation={}"
NOISE = "privacy.mechanism={name: distributed_skellam, noise_multiplier: 2.0}"

SUMMABLE = {"confident_gnmax", "enhanced_era", "era", "gaussian_mean", "gnmax", "mean_probabilities", "vote"}

BAD: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "too few clients": (("clients.count=2",), ("needs at least 3 clients, got 2", "raise clients.count")),
    "too few clients a round": (("clients.fraction=0.5",), ("needs at least 3 clients, got 2", "clients.fraction")),
    "half of the clients": (
        ("privacy.secure_aggregation.threshold=0.5",),
        ("threshold must exceed half of 4 clients + 0 colluders, got 2", "0.5 of 4 clients a round are 2"),
    ),
    "more colluders than the threshold bears": (
        ("privacy.secure_aggregation.colluders=2",),
        ("threshold must exceed half of 4 clients + 2 colluders, got 3",),
    ),
    "more bits than fit": (
        ("privacy.secure_aggregation.bits=24", "clients.count=130", "data.private_size=400"),
        ("privacy.secure_aggregation.bits: 130 values of up to 1", "use at most 23 bits or fewer clients"),
    ),
    "a clip that overflows": (
        ("strategy={name: gaussian_mean, clip: 1.0e9}",),
        ("privacy.secure_aggregation.bits: 4 values of up to 1e+09",),
    ),
    "a teacher that weighs reports": (
        ("strategy=stacked",),
        ("strategy.name: stacked compares or weighs single reports", "choose mean_probabilities"),
    ),
    "a teacher of unbounded logits": (
        ("strategy=mean_logits",),
        ("strategy.name: mean_logits sums numbers without a bound", "gaussian_mean"),
    ),
    "a teacher that needs label counts": (
        ("strategy=class_count_weighted",),
        ("class_count_weighted has clients disclose how many samples of each class",),
    ),
    "clients that abstain": (
        ("clients.rule=selective",),
        ("clients.rule: selective abstains from samples", "choose a rule that always answers"),
    ),
    "a rule without logits": (
        ("clients.rule=parameters", "student.rule=average"),
        ("student.rule: average needs every client's report", "clients.rule: parameters sends parameters"),
    ),
    "a codec": (
        ("communication.uplink={name: quantise, bits: 8}",),
        ("communication.uplink: masked reports", "no codec can shorten", "set communication.uplink=float32"),
    ),
    "attackers that know the others": (
        ("clients.attackers={share: 0.25, behaviour: hips}",),
        ("clients.attackers.behaviour: hips is simulated where all reports are known",),
    ),
    "a control made of single answers": (
        ("controls=[teacher_only]",),
        ("controls: teacher_only is measured on the clients' answers on the test samples",),
    ),
    "noise that does not fit": (
        ("privacy.mechanism={name: distributed_skellam, noise_multiplier: 1.0e9}",),
        ("privacy.secure_aggregation: noise of standard deviation", "lower the noise"),
    ),
    "steps finer than the noise has room for": (
        (NOISE, "privacy.secure_aggregation.bits=22"),
        ("fractional bits, got 22", "leave privacy.secure_aggregation.bits null"),
    ),
    "steps too coarse for the proof": (
        (NOISE, "privacy.secure_aggregation.bits=3"),
        ("steps of 2^-3 are too coarse", "leave privacy.secure_aggregation.bits null"),
    ),
    "two proofs": ((NOISE, "strategy=gnmax"), ("DistributedSkellam and GNMax each prove a privacy of their own",)),
}

FITTING: list[tuple[str, ...]] = [
    (),
    ("clients.rule=own_model", "communication.cache_rounds=2", "communication.downlink={name: quantise, bits: 8}"),
    ("privacy.mechanism={name: dp_sgd, noise_multiplier: 1.0}",),
    ("privacy.mechanism={name: gaussian_logits, noise_multiplier: 1.0}",),
    (NOISE,),
    ("clients.attackers={share: 0.25, behaviour: scaled}",),
    ("controls=[public_only, local_only, fedavg]",),
    ("privacy.secure_aggregation.threshold=1.0", "privacy.secure_aggregation.colluders=2"),
]


@pytest.mark.parametrize("case", BAD)
def test_what_it_does_not_go_with_is_refused_with_a_remedy(case: str) -> None:
    overrides, words = BAD[case]
    with pytest.raises(ConfigError) as caught:
        check(load_config(SMALL, [SECURE, *overrides]))
    text = "\n".join(caught.value.problems)
    for word in words:
        assert word in text


def test_all_faults_are_reported_at_once() -> None:
    overrides = [SECURE, "strategy=krum", "controls=[teacher_only]", "communication.uplink=float16", "clients.count=2"]
    faults = composition_faults(Experiment.of(load_config(SMALL, overrides)))
    assert len([fault for fault in faults if "secure_aggregation" in fault]) == 4


@pytest.mark.parametrize("overrides", FITTING, ids=" ".join)
def test_what_it_goes_with_is_not_complained_about(overrides: tuple[str, ...]) -> None:
    check(load_config(SMALL, [SECURE, *overrides]))


@pytest.mark.parametrize("name", plugins.names(plugins.STRATEGY))
def test_a_teacher_is_accepted_exactly_when_it_is_made_of_bounded_sums(name: str) -> None:
    faults = composition_faults(Experiment.of(load_config(SMALL, [SECURE, f"strategy={name}"])))
    teacher: type[LogitAggregator] = plugins.resolve(plugins.STRATEGY, name)
    assert (not faults) == (name in SUMMABLE) == sums(teacher)


def test_noise_inside_a_sum_needs_the_sum() -> None:
    (fault,) = composition_faults(Experiment.of(load_config(SMALL, [NOISE])))
    assert "privacy.mechanism: distributed_skellam adds each client's share" in fault
    assert "set privacy.secure_aggregation={}, or privacy.mechanism=gaussian_logits" in fault


def test_the_header_says_what_it_protects() -> None:
    (line,) = secure_lines(experiment_of(SECURE))
    assert "the sum of at least 3 of 4 reports and no single one, with up to 0 clients on its side" in line
    assert "by itself it proves no ε" in line
    assert "whoever knows it can open" in line
    (noisy,) = secure_lines(experiment_of("privacy.secure_aggregation={entropy: system}", NOISE))
    assert "proves no" not in noisy
    assert "the operating system" in noisy
    assert secure_lines(experiment_of()) == ()


def test_unknown_keys_have_the_nearest_right_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'threshold'"):
        load_config(SMALL, ["privacy.secure_aggregation.treshold=0.7"])


def test_a_server_without_a_place_for_secrets_says_so() -> None:
    server = Server.build(experiment_of(SECURE))
    from fedkd.core.errors import RunError
    from fedkd.engines.inline import InlineEngine

    with pytest.raises(RunError, match="or give its Workload a memory"):
        server.run_round(server.job(1), InlineEngine().run)
