"""What a client works with, as the configuration describes it."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.rule import ClientRule
from fedkd.config.load import parse_config
from fedkd.core import plugin_files, plugins
from fedkd.core.messages import ASKED, LABEL_COUNTS, Home, Job
from fedkd.experiment import Experiment
from fedkd.privacy.private import EXAMPLES, discloses


def experiment_of(job: Job) -> Experiment:
    """The experiment of a job, the same for equal ones; with the node's own private data, where they are at home there.

    Raises ``HomeError`` for those with which it cannot take part, else as ``Experiment.of`` does.
    """
    if job.host is None or job.host.home is None:
        return Experiment.of(job.config)
    return experiment_at_home(job.config, job.host.home, plugin_files.working_folder())


@lru_cache(maxsize=4)
def experiment_at_home(config_json: str, home: Home, plugins_in: Path | None) -> Experiment:
    """The experiment of a configuration as JSON with the private data of one client; raises as ``home_data`` does."""
    from fedkd.data.common import CommonData
    from fedkd.data.home import home_data

    config = parse_config(json.loads(config_json))
    common = CommonData.read(Path(home.common), home.common_digest)
    return Experiment(config, home_data(config, home.client, home.named, common))


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


def declared(experiment: Experiment) -> frozenset[str]:
    """What clients with private data at home say of these beside what their rule sends: what the algorithm needs.

    ``EXAMPLES``, how many they have, and ``LABEL_COUNTS``, how many of each class.
    """
    rule = experiment.new(plugins.STUDENT_RULE, experiment.config.student.rule)
    needing = [rule, *([experiment.new(plugins.STRATEGY, experiment.config.strategy)] if rule.teaches else [])]
    counts = any(part.needs_label_counts for part in needing[1:])
    examples = counts or any(part.needs_examples for part in needing)
    examples = examples and discloses(experiment.mechanism, EXAMPLES)
    return frozenset(name for name, said in ((EXAMPLES, examples), (LABEL_COUNTS, counts)) if said)


def states_examples(experiment: Experiment) -> bool:
    """Whether clients say how many private training samples they have."""
    if experiment.config.data.at_home:
        return EXAMPLES in declared(experiment)
    return discloses(experiment.mechanism, EXAMPLES)


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
