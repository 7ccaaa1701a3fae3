"""The rule, the behaviour and the asked positions that a configuration means."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.rule import ClientRule
from fedkd.core import plugins
from fedkd.core.messages import ASKED, Job
from fedkd.experiment import Experiment, codec


def asked_positions(experiment: Experiment, job: Job) -> Int[Tensor, " asked"]:
    """The public samples a round's clients answer on: all of the round's subset, or those the server marked in it."""
    config = experiment.config
    chosen = experiment.data.public.subset(config.data.public.round_size, config.seed, job.round)
    if (marks := job.parameters.get(ASKED)) is None:
        return chosen
    return chosen[torch.from_numpy(np.unpackbits(marks, count=chosen.numel()).astype(bool))]


def keeps_state(experiment: Experiment) -> bool:
    """Whether clients keep anything between rounds or steps: a memory, codes to take differences from, or secrets."""
    config = experiment.config
    rule: ClientRule = plugins.build(plugins.CLIENT_RULE, config.clients.rule.name, config.clients.rule.options)
    specs = [config.clients.behaviour, *([config.clients.attackers.behaviour] if experiment.attackers else [])]
    behaviours: list[ClientBehaviour] = [plugins.build(plugins.BEHAVIOUR, spec.name, spec.options) for spec in specs]
    delta = codec(config.communication.uplink).delta or codec(config.communication.downlink).delta
    secrets = config.privacy.secure_aggregation is not None
    return secrets or delta or rule.remembers or any(behaviour.remembers for behaviour in behaviours)


def build_behaviour(experiment: Experiment, client: int) -> ClientBehaviour:
    """How the client behaves: as ``clients.attackers`` says if it is one of them."""
    clients = experiment.config.clients
    spec = clients.attackers.behaviour if client in experiment.attackers else clients.behaviour
    behaviour: ClientBehaviour = plugins.build(plugins.BEHAVIOUR, spec.name, spec.options)
    return behaviour
