"""What the server works with, as the configuration describes it; the parts that keep a state are made anew."""

import secrets
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.types import Teacher
from fedkd.client.secure_terms import run_digest
from fedkd.core import plugins
from fedkd.core.messages import ClientReport
from fedkd.core.seeding import SERVER, torch_generator
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.network import NetworkTeacher
from fedkd.experiment import Experiment
from fedkd.privacy.attempts import Part, name_of
from fedkd.privacy.noise import seeded_noise, system_noise
from fedkd.privacy.preview import private_part
from fedkd.privacy.private import Private
from fedkd.server.reports import stack_reports
from fedkd.server.student_rule import StudentRule


def new_student_rule(experiment: Experiment) -> StudentRule:
    """The server's part of the algorithm, before it has begun."""
    rule: StudentRule = experiment.new(plugins.STUDENT_RULE, experiment.config.student.rule)
    return rule


def new_strategy(experiment: Experiment) -> LogitAggregator:
    """The aggregation strategy, before the first round."""
    strategy: LogitAggregator = experiment.new(plugins.STRATEGY, experiment.config.strategy)
    return strategy


def strategy_generator(experiment: Experiment, round: int) -> torch.Generator:
    """The randomness of strategies that draw, in one round; none of it hides anything."""
    return torch_generator(experiment.config.seed, round=round, purpose="teacher")


def attempt_name(experiment: Experiment, round: int, *released: Part) -> str:
    """The name of an attempt at a round, with what is released in it (``fedkd.privacy.attempts``).

    Where noise comes from the operating system no attempt is ever repeated, and each has a name of its own.
    """
    if experiment.config.privacy.entropy == "system":
        return secrets.token_hex(32)
    return name_of(run_digest(experiment), round, *released)


def strategy_noise(experiment: Experiment, round: int, *released: Part) -> np.random.Generator:
    """The noise of a strategy with a proof, for what is ``released`` with it and for nothing else."""
    if experiment.config.privacy.entropy == "system":
        return system_noise()
    attempt = attempt_name(experiment, round, *released)
    return seeded_noise(experiment.config.seed, round=round, client=SERVER, purpose="teacher", attempt=attempt)


def parts_of(reports: Sequence[ClientReport]) -> list[Part]:
    """What a strategy with a proof makes its teacher of."""
    return [(report.client, report.logits, report.mask) for report in reports]


def teacher_of(
    experiment: Experiment,
    strategy: LogitAggregator,
    reports: Sequence[ClientReport],
    *,
    labels: Int[Tensor, " samples"],
    round: int,
) -> Teacher:
    """What a strategy makes of a round's reports, whose logits are on samples with these labels (−1: unknown)."""
    generator = strategy_generator(experiment, round)
    noise = strategy_noise(experiment, round, parts_of(reports)) if isinstance(strategy, Private) else None
    return strategy(stack_reports(reports, labels, round=round, generator=generator, noise=noise))


def new_distiller(experiment: Experiment, student: nn.Module, network: NetworkTeacher | None = None) -> Distiller:
    """A trainer of ``student`` as the section ``distillation`` says; ``network`` is its teacher, where that is one."""
    config = experiment.config
    return Distiller(
        student,
        experiment.new(plugins.BALANCER, config.distillation.balancer),
        config.distillation,
        temperature=experiment.new(plugins.TEMPERATURE, config.distillation.temperature),
        seed=config.seed,
        rounds=config.rounds,
        pseudo_labels=config.data.public.pseudo_labels,
        network=network,
    )


def private_part_of(experiment: Experiment) -> Private | None:
    """The mechanism or the strategy that has a proof; None where nothing is proved.

    Raises ``ValueError`` for two (``fedkd.privacy.private_part``).
    """
    teaches = new_student_rule(experiment).teaches
    return private_part(experiment.mechanism, new_strategy(experiment) if teaches else None)
