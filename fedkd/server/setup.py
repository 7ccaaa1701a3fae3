"""What the server works with, as the configuration describes it; the parts that keep a state are made anew."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.types import Teacher
from fedkd.core import plugins
from fedkd.core.messages import ClientReport
from fedkd.core.seeding import torch_generator
from fedkd.distillation.distiller import Distiller
from fedkd.experiment import Experiment
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
    """The randomness of strategies that draw, in one round."""
    return torch_generator(experiment.config.seed, round=round, purpose="teacher")


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
    return strategy(stack_reports(reports, labels, round=round, generator=generator))


def new_distiller(experiment: Experiment, student: nn.Module) -> Distiller:
    """A trainer of ``student`` as the section ``distillation`` says."""
    config = experiment.config
    return Distiller(
        student,
        experiment.new(plugins.BALANCER, config.distillation.balancer),
        config.distillation,
        temperature=experiment.new(plugins.TEMPERATURE, config.distillation.temperature),
        seed=config.seed,
        rounds=config.rounds,
        pseudo_labels=config.data.public.pseudo_labels,
    )


def private_part_of(experiment: Experiment) -> Private | None:
    """The mechanism or the strategy that has a proof; None where nothing is proved.

    Raises ``ValueError`` for two (``fedkd.privacy.private_part``).
    """
    teaches = new_student_rule(experiment).teaches
    return private_part(experiment.mechanism, new_strategy(experiment) if teaches else None)
