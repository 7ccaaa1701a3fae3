"""Attacks replayed on the answers that honest clients gave, and what a defence makes of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.client.behaviour import AdversaryView, ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload
from fedkd.core import plugins
from fedkd.core.seeding import torch_generator
from fedkd.distillation.distiller import Distiller
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.models import accuracy, hit_rate
from studies.robustness.settings import ABSENT, ATTACKS, DEFENCES, NONE, ROUNDS_BEFORE, TRAINED, place_of


def built(attack: str) -> ClientBehaviour:
    behaviour: ClientBehaviour = plugins.build(plugins.BEHAVIOUR, *ATTACKS[attack])
    return behaviour


class Replay(ClientRule):
    """A rule that answers what the client answered before."""

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits

    def respond(self, context: ClientContext) -> Upload:
        return Upload(logits=self._logits)


def first_round(experiment: Experiment, client: int) -> ClientContext:
    """The client's work in round 1, when everybody has the initial model."""
    labels = experiment.data.labels[experiment.data.clients[client].train]
    return ClientContext(experiment, client, 1, {}, experiment.data.public.inputs, labels)


def answer(behaviour: ClientBehaviour, context: ClientContext, rule: ClientRule) -> Tensor:
    """The logits that a client with this behaviour sends."""
    upload = behaviour.respond(context, rule)
    if upload.logits is None:
        raise ValueError(f"{type(rule).__name__} answers without logits, and there is nothing to replay")
    return upload.logits


def train_client(preset: str, cache: str, partition: str, seed: int, client: int, attack: str) -> bool:
    """One client's logits on all public samples after one round, honest or not."""
    experiment = place_of(preset, partition, seed)
    behaviour = plugins.build(plugins.BEHAVIOUR, "honest") if attack == NONE else built(attack)
    context = first_round(experiment, client)
    context.labels = behaviour.labels(context)
    logits = answer(behaviour, context, plugins.build(plugins.CLIENT_RULE, "own_model"))
    np.save(client_file(cache, partition, seed, client, attack), logits.numpy())
    return True


def client_file(cache: str, partition: str, seed: int, client: int, attack: str) -> Path:
    return Path(cache) / f"client_{partition}_{seed}_{client}_{attack}.npy"


def answers(experiment: Experiment, cache: str, partition: str, attack: str) -> dict[int, Tensor]:
    """The clients' logits, ``[samples, classes]`` each; those of ``experiment.attackers`` are forged or missing."""
    config = experiment.config
    seed, everybody = config.seed, range(config.clients.count)
    attackers = sorted(experiment.attackers) if attack != NONE else []
    kind = attack if attack in TRAINED else NONE
    files = [client_file(cache, partition, seed, client, kind if client in attackers else NONE) for client in everybody]
    logits = {client: torch.from_numpy(np.load(file)) for client, file in zip(everybody, files, strict=True)}
    if attack in (NONE, *TRAINED):
        return logits
    truthful = {client: own for client, own in logits.items() if client not in attackers}
    if attack == ABSENT:
        return truthful
    honest, forged = torch.stack(list(truthful.values())), dict(logits)
    for client in attackers:
        behaviour = built(attack)
        if behaviour.needs_others:
            draw = torch_generator(seed, round=1, client=client, purpose="collusion")
            forged[client] = behaviour.collude(AdversaryView(honest, logits[client], draw, client, len(attackers)))
        else:
            forged[client] = answer(behaviour, first_round(experiment, client), Replay(logits[client]))
    return forged


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
    preset: str, cache: str, partition: str, seed: int, attack: str, share: float, defence: str
) -> dict[str, float]:
    """One cell of the table: the teacher's accuracy where the server knows no label, and the student's."""
    experiment = place_of(preset, partition, seed, share)
    teacher = teach(experiment, answers(experiment, cache, partition, attack), defence)
    public = experiment.data.public
    hidden = (public.labels < 0) & ~public.validation
    return {
        "strategy": hit_rate(teacher.log_probabilities[hidden], public.truth[hidden]),
        "test": accuracy(distilled(experiment, teacher), experiment.data.test_inputs, experiment.data.test_labels),
    }


def distilled(experiment: Experiment, teacher: Teacher) -> nn.Module:
    """A student that has learned from the teacher alone."""
    config, public = experiment.config, experiment.data.public
    balancer, temperature = config.distillation.balancer, config.distillation.temperature
    distiller = Distiller(
        experiment.initial_model(),
        plugins.build(plugins.BALANCER, balancer.name, balancer.options),
        config.distillation,
        temperature=plugins.build(plugins.TEMPERATURE, temperature.name, temperature.options),
        seed=config.seed,
    )
    held_out = Validation(public.validation, public.truth[public.validation])
    distiller.distil(teacher, public.inputs, public.labels, round=1, validation=held_out)
    return distiller.student
