"""What student rules are made of, as the configuration describes it."""

import torch
from torch import nn

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.core import plugins
from fedkd.core.seeding import torch_generator
from fedkd.distillation.distiller import Distiller
from fedkd.experiment import Experiment


def build_aggregator(experiment: Experiment) -> LogitAggregator:
    """The configured teacher."""
    teacher = experiment.config.strategy
    aggregator: LogitAggregator = plugins.build(plugins.STRATEGY, teacher.name, teacher.options)
    return aggregator


def teacher_generator(experiment: Experiment, round: int) -> torch.Generator:
    """The randomness of teachers that draw, in one round."""
    return torch_generator(experiment.config.seed, round=round, purpose="teacher")


def build_distiller(experiment: Experiment, student: nn.Module) -> Distiller:
    """A trainer of ``student`` as the section ``distillation`` says."""
    config = experiment.config
    balancer, temperature = config.distillation.balancer, config.distillation.temperature
    return Distiller(
        student,
        plugins.build(plugins.BALANCER, balancer.name, balancer.options),
        config.distillation,
        temperature=plugins.build(plugins.TEMPERATURE, temperature.name, temperature.options),
        seed=config.seed,
        rounds=config.rounds,
        pseudo_labels=config.data.public.pseudo_labels,
    )
