"""Attacks replayed on the logits of honest clients, and what a defence makes of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.client.behaviour import AdversaryView, ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload
from fedkd.core import plugins
from fedkd.core.seeding import torch_generator
from fedkd.experiment import Experiment
from fedkd.models import accuracy, hit_rate
from studies.robustness.settings import ABSENT, ATTACKS, DEFENCES, NONE, ROUNDS_BEFORE, TRAINED, experiment_of
from studies.teaching import distilled


def built(attack: str) -> ClientBehaviour:
    behaviour: ClientBehaviour = plugins.build(plugins.BEHAVIOUR, *ATTACKS[attack])
    return behaviour


class Replay(ClientRule):
    """A rule that sends the logits that the client sent before."""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    def respond(self, context: ClientContext) -> Upload:
        return Upload(logits=self._logits)


def first_round(experiment: Experiment, client: int) -> ClientContext:
    """The client in round 1, when everybody has the initial model."""
    labels = experiment.data.labels[experiment.data.clients[client].train]
    return ClientContext(experiment, client, 1, {}, experiment.data.public.inputs, labels)


def logits_sent(behaviour: ClientBehaviour, context: ClientContext, rule: ClientRule) -> Tensor:
    """The logits that a client with this behaviour sends."""
    upload = behaviour.respond(context, rule)
    if upload.logits is None:
        raise ValueError(f"{type(rule).__name__} sends no logits, and there is nothing to replay")
    return upload.logits


def train_client(runs: Path, preset: str, partition: str, seed: int, client: int, attack: str) -> None:
    """Keep one client's logits on all public samples after one round, honest or not."""
    behaviour = plugins.build(plugins.BEHAVIOUR, "honest") if attack == NONE else built(attack)
    context = first_round(experiment_of(preset, partition, seed), client)
    context.labels = behaviour.labels(context)
    logits = logits_sent(behaviour, context, plugins.build(plugins.CLIENT_RULE, "own_model"))
    file = client_file(runs, preset, partition, seed, client, attack)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, logits.numpy())


def client_file(runs: Path, preset: str, partition: str, seed: int, client: int, attack: str) -> Path:
    return runs / preset / f"client_{partition}_{seed}_{client}_{attack}.npy"


def all_logits(runs: Path, preset: str, partition: str, attack: str, experiment: Experiment) -> dict[int, Tensor]:
    """The clients' logits, ``[samples, classes]`` each; those of ``experiment.attackers`` are forged or missing."""
    seed, everybody = experiment.config.seed, range(experiment.config.clients.count)
    attackers = sorted(experiment.attackers) if attack != NONE else []
    kinds = {client: attack if attack in TRAINED and client in attackers else NONE for client in everybody}
    files = {client: client_file(runs, preset, partition, seed, client, kind) for client, kind in kinds.items()}
    logits = {client: torch.from_numpy(np.load(file)) for client, file in files.items()}
    if attack in (NONE, *TRAINED):
        return logits
    honest = {client: own for client, own in logits.items() if client not in attackers}
    if attack == ABSENT:
        return honest
    behaviour, others = built(attack), torch.stack(list(honest.values()))
    for client in attackers:
        if behaviour.needs_others:
            draw = torch_generator(seed, round=1, client=client, purpose="collusion")
            logits[client] = behaviour.collude(AdversaryView(others, logits[client], draw, client, len(attackers)))
        else:
            logits[client] = logits_sent(behaviour, first_round(experiment, client), Replay(logits[client]))
    return logits


def teach(experiment: Experiment, sent: Mapping[int, Tensor], defence: str) -> Teacher:
    """The defence's teacher, which has seen the parts of the public set before if it has a memory."""
    aggregator = plugins.build(plugins.STRATEGY, *DEFENCES[defence])
    public, logits = experiment.data.public, torch.stack(list(sent.values()))

    def stack(samples: Tensor, round: int) -> ReportStack:
        return ReportStack(
            logits[:, samples],
            torch.tensor([experiment.data.clients[client].train.numel() for client in sent]),
            public.labels[samples],
            tuple(sent),
            round=round,
        )

    everything = torch.arange(public.labels.numel())
    if aggregator.state_dict():
        for round, part in enumerate(everything.chunk(ROUNDS_BEFORE), start=1):
            aggregator(stack(part, round))
    teacher: Teacher = aggregator(stack(everything, ROUNDS_BEFORE + 1))
    return teacher


def defend(
    runs: Path, preset: str, partition: str, seed: int, attack: str, share: float, defence: str
) -> dict[str, float]:
    """One cell of the table: the teacher's accuracy where the server knows no label, and the student's."""
    experiment = experiment_of(preset, partition, seed, share)
    teacher = teach(experiment, all_logits(runs, preset, partition, attack, experiment), defence)
    student, _ = distilled(experiment, teacher)
    data, public = experiment.data, experiment.data.public
    hidden = (public.labels < 0) & ~public.validation
    return {
        "teacher": hit_rate(teacher.log_probabilities[hidden], public.truth[hidden]),
        "test": accuracy(student, data.test_inputs, data.test_labels),
    }
