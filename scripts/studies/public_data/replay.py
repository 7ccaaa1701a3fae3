"""Clients that are trained once, what they answer on any public set, and the students that learn of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.app.controls import public_only
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule
from fedkd.core import plugins
from fedkd.data import PublicSet
from fedkd.experiment import Experiment
from fedkd.models import accuracy, hit_rate
from fedkd.server.setup import new_strategy
from studies.public_data.settings import PRESETS, SELECTIVE, Cell
from studies.teaching import distilled


def experiment_of(setting: str, partition: str, seed: int, cell: Cell, strategy: str | None = None) -> Experiment:
    """The experiment of a cell with the clients of all cells: those beside the largest public set of the same data."""
    found = PRESETS[setting]
    if cell.origin in found.elsewhere:
        pool = Experiment.of(found.config(partition, seed, Cell(found.largest, 0)))
        public = Experiment.of(found.config(partition, seed, cell)).data.public
    else:
        pool = Experiment.of(found.config(partition, seed, replace(cell, size=found.largest)))
        public = _first(pool.data.public, cell.size)
    return Experiment(found.config(partition, seed, cell, strategy), given=replace(pool.data, public=public))


def _first(public: PublicSet, size: int) -> PublicSet:
    """A smaller public set, as it would be drawn: the same samples, those with known labels at the front."""
    parts = (public.inputs, public.told, public.truth, public.validation)
    inputs, told, truth, validation = (each[:size] for each in parts)
    return PublicSet(inputs, told, truth, validation)


def train_client(runs: Path, setting: str, partition: str, seed: int, client: int) -> None:
    """Keep what one client remembers after a round."""
    experiment = experiment_of(setting, partition, seed, PRESETS[setting].reference)
    context = _context(experiment, client)
    _rule(experiment).respond(context)
    file = _client_file(runs, setting, partition, seed, client)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(context.memory, file)


def answer(runs: Path, setting: str, partition: str, seed: int, size: int, origin: str) -> None:
    """Keep all clients' logits on a public set, and where they would vote under the rule ``selective``."""
    experiment = experiment_of(setting, partition, seed, Cell(size, 0, origin), SELECTIVE)
    rule, uploads = _rule(experiment), []
    for client in range(experiment.config.clients.count):
        context = replace(_context(experiment, client), trainer=_already_trained)
        file = _client_file(runs, setting, partition, seed, client)
        context.memory = torch.load(file, weights_only=True)
        uploads.append(rule.respond(context))
    logits, masks = ([getattr(upload, name).numpy() for upload in uploads] for name in ("logits", "mask"))
    np.savez(_answer_file(runs, setting, partition, seed, size, origin), logits=np.stack(logits), mask=np.stack(masks))


def _context(experiment: Experiment, client: int) -> ClientContext:
    """The client in round 1, when everybody has the initial model."""
    labels = experiment.data.labels[experiment.data.clients[client].train]
    return ClientContext(experiment, client, 1, {}, experiment.data.public.inputs, labels)


def _rule(experiment: Experiment) -> ClientRule:
    rule: ClientRule = experiment.new(plugins.CLIENT_RULE, experiment.config.clients.rule)
    return rule


def _already_trained(model: nn.Module, *given: Any, **options: Any) -> None:
    """In place of training: the client remembers its model as it is after the round."""


def _client_file(runs: Path, setting: str, partition: str, seed: int, client: int) -> Path:
    return runs / setting / f"client_{partition}_{seed}_{client}.pt"


def _answer_file(runs: Path, setting: str, partition: str, seed: int, size: int, origin: str) -> Path:
    return runs / setting / f"answers_{partition}_{seed}_{size}_{origin.replace(' ', '_')}.npz"


def learn(
    runs: Path, setting: str, partition: str, seed: int, cell: tuple[int, int, str, float], strategy: str
) -> dict[str, float | None]:
    """A strategy's teacher on a public set where the server knows no label, how often it is heard, and its student."""
    public_set = Cell(*cell)
    experiment = experiment_of(setting, partition, seed, public_set, strategy)
    kept = np.load(_answer_file(runs, setting, partition, seed, public_set.size, public_set.origin))
    mask = torch.from_numpy(kept["mask"]) if strategy == SELECTIVE else None
    teacher = _taught(experiment, torch.from_numpy(kept["logits"]), mask)
    student, _ = distilled(experiment, teacher)
    data, public = experiment.data, experiment.data.public
    hidden = (public.told < 0) & (public.truth >= 0)
    return {
        "test": accuracy(student, data.test_inputs, data.test_labels),
        "teacher": hit_rate(teacher.log_probabilities[hidden], public.truth[hidden]) if bool(hidden.any()) else None,
        "heard": float((teacher.sample_weight > 0).double().mean()),
    }


def _taught(experiment: Experiment, logits: Tensor, mask: Tensor | None) -> Teacher:
    data = experiment.data
    stack = ReportStack(
        logits,
        torch.tensor([client.train.numel() for client in data.clients]),
        data.public.labels,
        tuple(range(len(logits))),
        mask=mask,
    )
    teacher: Teacher = new_strategy(experiment)(stack)
    return teacher


def learn_alone(runs: Path, setting: str, partition: str, seed: int, cell: tuple[int, int, str, float]) -> float:
    """Test accuracy of a student of the labelled public samples alone, with the same steps."""
    history, _ = public_only(experiment_of(setting, partition, seed, Cell(*cell)), lambda done, total: None)
    return history[-1]
