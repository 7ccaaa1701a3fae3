"""What secure aggregation does not go with, and why."""

from collections.abc import Iterator

from fedkd.aggregation.strategy import sums
from fedkd.client.secure_terms import fixed_point_of, threshold_of
from fedkd.client.setup import attack_behaviour, client_rule
from fedkd.config.schema import SecureAggregationConfig
from fedkd.core.errors import ConfigError
from fedkd.experiment import Experiment
from fedkd.privacy.private import Private
from fedkd.privacy.secure_noise import SecureNoise
from fedkd.privacy.secure_sum.terms import Terms
from fedkd.server.setup import new_strategy, new_student_rule

KEY = "privacy.secure_aggregation"


def secure_faults(experiment: Experiment) -> Iterator[str]:
    """What keeps an experiment from being summed securely; without secure aggregation, what cannot do without it."""
    config = experiment.config
    section, mechanism = config.privacy.secure_aggregation, config.privacy.mechanism.name
    if section is None:
        if isinstance(experiment.mechanism, SecureNoise):
            yield (
                f"privacy.mechanism: {mechanism} adds each client's share of the noise inside a secure sum, and {KEY} "
                "is null, so that the server would see reports with too little noise; set "
                f"{KEY}={{}}, or privacy.mechanism=gaussian_logits"
            )
        return
    yield from _term_faults(experiment, section)
    yield from _rule_faults(experiment)
    yield from _strategy_faults(experiment)
    if config.communication.uplink.name != "float32" or config.communication.uplink.options:
        yield (
            f"communication.uplink: masked reports are words modulo 2^32 that look random, which no codec can shorten, "
            f"got {config.communication.uplink.name}; set communication.uplink=float32, and {KEY}.bits for coarser "
            "numbers"
        )
    if attack_behaviour(experiment).needs_others and config.clients.attackers.share > 0:
        yield (
            f"clients.attackers.behaviour: {config.clients.attackers.behaviour.name} is simulated where all reports "
            f"are known, and under {KEY} they are known nowhere; choose another behaviour"
        )
    if "teacher_only" in config.controls:
        yield (
            "controls: teacher_only is measured on the clients' answers on the test samples, which would go to the "
            f"server beside the secure sum, got teacher_only with {KEY}; leave it out"
        )


def check_secure_sum(experiment: Experiment) -> None:
    """Raises ``ConfigError`` where a sum of reports with their noise would overflow, once data and noise are known."""
    config = experiment.config
    if config.privacy.secure_aggregation is None:
        return
    queries = experiment.data.public.subset(config.data.public.round_size, config.seed, 1).numel()
    try:
        fixed_point_of(experiment, queries=queries, classes=experiment.data.classes)
    except ValueError as error:
        raise ConfigError([f"{KEY}: {error}"]) from error


def secure_lines(experiment: Experiment) -> tuple[str, ...]:
    """What to read about it before a run."""
    section, clients = experiment.config.privacy.secure_aggregation, experiment.config.clients.per_round
    if section is None:
        return ()
    mechanism = experiment.mechanism
    alone = "" if isinstance(mechanism, Private) else "; by itself it proves no ε"
    secrets = "the operating system, signing keys, in a simulation, from the seed"
    if section.entropy == "seed":
        secrets = "the seed, as are signing keys, which whoever knows it can open"
    return (
        f"privacy: secure aggregation: the server learns the sum of at least {threshold_of(section, clients)} of "
        f"{clients} reports and no single one, with up to {section.colluders} clients on its side{alone}; secrets from "
        f"{secrets}",
    )


def _term_faults(experiment: Experiment, section: SecureAggregationConfig) -> Iterator[str]:
    clients = experiment.config.clients.per_round
    threshold = threshold_of(section, clients)
    try:
        Terms(b"", 1, tuple(range(clients)), threshold, section.colluders)
    except ValueError as error:
        yield (
            f"{KEY}: {error} ({section.threshold:g} of {clients} clients a round are {threshold}); "
            "raise clients.count, clients.fraction or the threshold"
        )
        return
    if not isinstance(experiment.mechanism, SecureNoise):
        try:
            fixed_point_of(experiment, queries=1, classes=1)
        except ValueError as error:
            yield f"{KEY}.bits: {error}"


def _rule_faults(experiment: Experiment) -> Iterator[str]:
    config, client, student = experiment.config, client_rule(experiment), new_student_rule(experiment)
    if not (student.teaches and student.learns_from_sums):
        yield (
            f"student.rule: {config.student.rule.name} needs every client's report, and {KEY} gives their sum alone; "
            "set student.rule=distil"
        )
    if client.sends != "logits":
        yield (
            f"clients.rule: {config.clients.rule.name} sends {client.sends}, and {KEY} sums what a teacher makes of "
            "logits; choose a rule that sends logits"
        )
    if client.abstains:
        yield (
            f"clients.rule: {config.clients.rule.name} abstains from samples, and in a sum under {KEY} nobody can tell "
            "who did; choose a rule that always answers"
        )


def _strategy_faults(experiment: Experiment) -> Iterator[str]:
    name, strategy = experiment.config.strategy.name, new_strategy(experiment)
    if strategy.needs_label_counts:
        yield (
            f"strategy.name: {name} has clients disclose how many samples of each class they hold, beside the sum of "
            f"{KEY}; choose mean_probabilities, era, vote or gnmax"
        )
    elif strategy.needs_individual_reports:
        yield (
            f"strategy.name: {name} compares or weighs single reports, and under {KEY} the server has none; choose "
            "mean_probabilities, era, vote or gnmax"
        )
    elif not sums(type(strategy)):
        yield (
            f"strategy.name: {name} sums numbers without a bound, which overflow the words of {KEY}; choose "
            "mean_probabilities, or gaussian_mean, which clips logits"
        )
