"""What a run takes of its clients' privacy: which part proves something, what a round costs, what a target ε takes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fedkd.client.release import release_of
from fedkd.config.values import Plugin
from fedkd.core import plugins
from fedkd.core.errors import ConfigError
from fedkd.experiment import Experiment
from fedkd.privacy.guarantee import Release
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.per_sample import clipped_sum_of
from fedkd.privacy.preview import preview, smallest_release
from fedkd.privacy.private import Private
from fedkd.server.setup import private_part_of

UNPROTECTED_CONTROLS = ("local_only", "fedavg", "centralised")
"""The controls that use private data as they are. Only a simulator has them, and none of them reaches the student."""


def plan_of(experiment: Experiment) -> dict[int, tuple[Release, int]]:
    """For each client that takes part at all: its round, with every sample asked about, and in how many it does."""
    config = experiment.config
    rounds = Counter(client for round in range(1, config.rounds + 1) for client in experiment.sampled(round))
    queries = experiment.data.public.subset(config.data.public.round_size, config.seed, 1).numel()
    return {client: (release_of(experiment, client, queries), count) for client, count in sorted(rounds.items())}


def with_noise(experiment: Experiment) -> Experiment:
    """The same with the noise that a target ε asks for in place of the target, so that clients know it.

    Raises ``ConfigError`` for models that private training cannot train.
    """
    config, part = experiment.config, private_part_of(experiment)
    if problems := list(_untrainable(experiment, experiment.mechanism)):
        raise ConfigError(problems)
    if part is None:
        return experiment
    fixed = part.calibrated(plan_of(experiment), config.privacy.delta)
    if fixed is part:
        return experiment
    values = {field.name: getattr(fixed, field.name) for field in plugins.options_of(type(fixed))}
    options = {name: value for name, value in values.items() if value is not None}
    if isinstance(part, LogitMechanism):
        spec = Plugin(config.privacy.mechanism.name, options)
        return Experiment.of(replace(config, privacy=replace(config.privacy, mechanism=spec)))
    return Experiment.of(replace(config, strategy=Plugin(config.strategy.name, options)))


def privacy_lines(experiment: Experiment) -> tuple[str, ...]:
    """What to read about privacy before a run starts."""
    config, part = experiment.config, private_part_of(experiment)
    plan: Mapping[int, tuple[Release, int]] = {} if part is None else plan_of(experiment)
    lines = preview(part, plan, config.privacy.delta)
    if part is not None and plan and (warning := _delta_warning(experiment, part, plan)) is not None:
        lines = (*lines, warning)
    unprotected = [name for name in config.controls if name in UNPROTECTED_CONTROLS]
    if part is not None and unprotected:
        lines = (
            *lines,
            f"privacy: outside of this guarantee: {', '.join(unprotected)}; controls that use private data as they are "
            "and exist in a simulator only",
        )
    return lines


def _delta_warning(experiment: Experiment, part: Private, plan: Mapping[int, tuple[Release, int]]) -> str | None:
    """Why δ is too large to mean anything: a mechanism may then give away every so-many-th record or client whole."""
    delta, smallest = experiment.config.privacy.delta, smallest_release(plan)
    unit = part.guarantee(smallest).unit
    count = smallest.examples if unit == "record" else experiment.config.clients.count
    if delta < 1 / count:
        return None
    whose = f"{count} records of the smallest client" if unit == "record" else f"{count} clients"
    return (
        f"privacy: δ = {delta:g} is not below 1/{count}, for {whose}: giving one of them away would satisfy it; "
        f"set privacy.delta to {0.1 / count:.0e} or less"
    )


def _untrainable(experiment: Experiment, mechanism: LogitMechanism) -> Iterator[str]:
    if not mechanism.trains_privately:
        return
    for index in sorted({experiment.architecture_of(client) for client in range(experiment.config.clients.count)}):
        try:
            made_up = experiment.data.spec.made_up(1)
            clipped_sum_of(experiment.initial_model(index), experiment.data.spec.shape, made_up.dtype)
        except ValueError as error:
            key = "clients.models" if experiment.config.clients.models else "student.model"
            yield f"{key}: {experiment.architectures[index].name}: {error}"
