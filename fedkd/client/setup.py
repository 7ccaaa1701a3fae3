"""What a client works with, as the configuration describes it."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.rule import ClientRule
from fedkd.core import plugins
from fedkd.core.messages import ASKED, Job
from fedkd.experiment import Experiment


def client_rule(experiment: Experiment) -> ClientRule:
    """What clients do in a round of the algorithm."""
    rule: ClientRule = experiment.new(plugins.CLIENT_RULE, experiment.config.clients.rule)
    return rule


def honest_behaviour(experiment: Experiment) -> ClientBehaviour:
    """How clients behave that are no attackers."""
    behaviour: ClientBehaviour = experiment.new(plugins.BEHAVIOUR, experiment.config.clients.behaviour)
    return behaviour


def attack_behaviour(experiment: Experiment) -> ClientBehaviour:
    """How attackers behave, whether there are any or not."""
    behaviour: ClientBehaviour = experiment.new(plugins.BEHAVIOUR, experiment.config.clients.attackers.behaviour)
    return behaviour


def behaviour_of(experiment: Experiment, client: int) -> ClientBehaviour:
    """How the client behaves: as ``clients.attackers`` says if it is one of them."""
    behaviour: ClientBehaviour = experiment.new(plugins.BEHAVIOUR, experiment.behaviour_spec_of(client))
    return behaviour


def asked_positions(experiment: Experiment, job: Job) -> Int[Tensor, " asked"]:
    """The public samples a round's clients answer on: all of the round's subset, or those the server marked in it."""
    config = experiment.config
    chosen = experiment.data.public.subset(config.data.public.round_size, config.seed, job.round)
    if (marks := job.parameters.get(ASKED)) is None:
        return chosen
    return chosen[torch.from_numpy(np.unpackbits(marks, count=chosen.numel()).astype(bool))]


def remembers(experiment: Experiment) -> bool:
    """Whether honest clients and attackers alike keep something of their own between rounds, as their rule has it."""
    return client_rule(experiment).remembers or experiment.config.clients.keep_batch_norm != "none"


def keeps_memory(experiment: Experiment, client: int) -> bool:
    """Whether the client goes on from what it kept in the last round of which its report was accepted."""
    delta = experiment.uplink.delta or experiment.downlink.delta
    return delta or remembers(experiment) or behaviour_of(experiment, client).remembers


def keeps_state(experiment: Experiment) -> bool:
    """Whether clients keep anything between rounds or steps: a memory, codes to take differences from, or secrets."""
    return (
        experiment.config.privacy.secure_aggregation is not None
        or experiment.uplink.delta
        or experiment.downlink.delta
        or remembers(experiment)
        or honest_behaviour(experiment).remembers
        or (bool(experiment.attackers) and attack_behaviour(experiment).remembers)
    )
