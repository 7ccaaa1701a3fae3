"""The cells of the study of λ: who teaches on what, and the teachers, which every policy learns from alike.

Eight cells are Dirichlet α × labelled public samples × strategy. The others are harder: fewer labels, stronger skew,
more and fewer clients, noise on every logit; and those in which a schedule cannot know what comes: a majority of
clients that names the wrong classes, other clients in each of five rounds, and public samples from another data set.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import ReportStack, Teacher
from fedkd.client.training import train
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.seeding import torch_generator
from fedkd.data import DataSource, PublicSet, channel_statistics, fit_to_shape, resolve_root, standardise
from fedkd.distillation.validation import Validation
from fedkd.experiment import Experiment
from fedkd.models import predict
from fedkd.server.setup import new_distiller

Twist = Literal["", "misled", "changing", "foreign", "noised"]
MEAN, STACKED = "mean_probabilities", "stacked"
ROUNDS = 5
"""Of the cells in which the teacher changes; their steps are shared among the rounds, and the student goes on."""
MISLED, HEARD = 0.6, 0.3
"""The share of clients that name the next class, and that of clients that are heard in a round."""
BOUND, NOISE = 10.0, 25.0
"""Logits are clipped to ± the one, and get normal noise with the other as standard deviation."""


@dataclass(frozen=True)
class Cell:
    """Dirichlet α over so many clients, labelled public samples, a strategy, and what is odd about the teacher."""

    alpha: float
    labelled: int
    strategy: str
    clients: int = 10
    twist: Twist = ""

    @property
    def name(self) -> str:
        """In words, for tables."""
        clients = "" if self.clients == 10 else f" clients={self.clients}"
        return f"alpha={self.alpha:g} labelled={self.labelled} {self.strategy}{clients} {self.twist}".strip()

    @property
    def unforeseeable(self) -> bool:
        """Whether no schedule can know: a bad teacher, one that changes, and public samples from elsewhere."""
        return self.twist in ("misled", "changing", "foreign")


PLAIN = tuple(Cell(*each) for each in itertools.product((0.1, 1.0), (500, 2_000), (MEAN, STACKED)))
HARD = (
    Cell(0.03, 500, MEAN),
    Cell(0.03, 200, STACKED),
    Cell(0.3, 100, MEAN),
    Cell(0.3, 50, STACKED),
    Cell(0.1, 200, STACKED),
    Cell(0.1, 500, STACKED, clients=3),
    Cell(0.1, 500, MEAN, clients=50),
    Cell(1.0, 500, MEAN, twist="noised"),
    Cell(1.0, 500, MEAN, twist="misled"),
    Cell(0.1, 500, MEAN, twist="changing"),
    Cell(1.0, 500, STACKED, twist="changing"),
    Cell(1.0, 500, MEAN, twist="foreign"),
)


@dataclass(frozen=True)
class Setting:
    """What all cells of a preset share: the experiment, and the data set of public samples from elsewhere."""

    base: Mapping[str, Any]
    foreign: str | None = None

    def config(self, cell: Cell, seed: int, balancer: Mapping[str, Any] | None = None) -> ExperimentConfig:
        """The experiment of a cell and a seed."""
        overrides = [
            f"seed={seed}",
            f"data.partition.alpha={cell.alpha}",
            f"data.public.labelled={cell.labelled}",
            f"clients.count={cell.clients}",
        ]
        if cell.twist == "changing":
            steps = load_config(self.base).distillation.steps // ROUNDS
            overrides += [f"rounds={ROUNDS}", f"distillation.steps={steps}"]
        if cell.alpha < 0.1:
            # A client with a handful of samples of one class diverges at the usual rate.
            overrides.append("clients.learning_rate=0.02")
        return load_config(self.base, overrides, values={} if balancer is None else {"distillation.balancer": balancer})

    def public(self, cell: Cell, experiment: Experiment) -> PublicSet:
        """The public samples of a cell: in the foreign one, of its own data set only the labelled are left."""
        public = experiment.data.public
        if cell.twist != "foreign":
            return public
        foreign, kept = self.foreign_inputs(experiment), labelled(public)
        unknown = torch.full((len(foreign),), UNKNOWN_LABEL)
        return PublicSet(
            torch.cat([public.inputs[kept], foreign]),
            torch.cat([public.told[kept], unknown]),
            torch.cat([public.truth[kept], unknown]),
            torch.cat([public.validation[kept], unknown != UNKNOWN_LABEL]),
        )

    def foreign_inputs(self, experiment: Experiment) -> Tensor:
        """The samples from elsewhere in the experiment's shape, standardised by themselves; none without a data set."""
        return _foreign_inputs(self.foreign, experiment.data.shape)


def labelled(public: PublicSet) -> Tensor:
    """Positions of the samples whose label the server knows, its validation samples among them."""
    return ((public.labels != UNKNOWN_LABEL) | public.validation).nonzero().squeeze(1)


@lru_cache(maxsize=1)
def _foreign_inputs(name: str | None, shape: tuple[int, int, int]) -> Tensor:
    if name is None:
        return torch.empty((0, *shape))
    source: DataSource = plugins.build(plugins.DATASET, name)
    found = source.load(resolve_root(None)).train_inputs
    assert isinstance(found, Tensor)
    images = fit_to_shape(found, shape)
    return standardise(images, *channel_statistics(images))


def answer(setting: Setting, cell: Cell, seed: int, client: int, file: Path) -> None:
    """Train a client, and keep its logits on all public samples, those from elsewhere behind the others."""
    experiment = Experiment.of(setting.config(cell, seed))
    data, config = experiment.data, experiment.config.clients
    own, model = data.clients[client].train, experiment.initial_model()
    draw = torch_generator(seed, client=client, round=1, purpose="local training")
    train(model, data.inputs[own], data.labels[own], config, epochs=config.epochs, generator=draw)
    logits = [predict(model, inputs) for inputs in (data.public.inputs, setting.foreign_inputs(experiment))]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, examples=np.array(len(own)), logits=torch.cat(logits).numpy())


def teachers(setting: Setting, cell: Cell, seed: int, files: list[Path]) -> list[Tensor]:
    """The log-probabilities of a cell's teacher in every round, made of the clients' answers."""
    experiment = Experiment.of(setting.config(cell, seed))
    kept = [np.load(file) for file in files]
    # As a server does with a report that it cannot use.
    kept = [each for each in kept if np.isfinite(each["logits"]).all()]
    logits = torch.stack([torch.from_numpy(each["logits"]) for each in kept])
    examples = torch.tensor([int(each["examples"]) for each in kept])
    public, here = experiment.data.public, experiment.data.public.labels.numel()
    if cell.twist == "foreign":
        logits = torch.cat([logits[:, labelled(public)], logits[:, here:]], dim=1)
        public = setting.public(cell, experiment)
    else:
        logits = logits[:, :here]
    draw = torch_generator(seed, purpose="the study's teachers")
    order = torch.randperm(len(kept), generator=draw)
    if cell.twist == "misled":
        liars = order[: round(MISLED * len(kept))]
        logits[liars] = logits[liars].roll(1, dims=-1)
    if cell.twist == "noised":
        logits = logits.clamp(-BOUND, BOUND) + NOISE * torch.randn(logits.shape, generator=draw)
    found = []
    for _ in range(experiment.config.rounds):
        heard = torch.arange(len(kept))
        if cell.twist == "changing":
            heard = torch.randperm(len(kept), generator=draw)[: round(HEARD * len(kept))].sort().values
        stack = ReportStack(logits[heard], examples[heard], public.labels, tuple(heard.tolist()))
        teacher: Teacher = plugins.build(plugins.STRATEGY, cell.strategy)(stack)
        found.append(teacher.log_probabilities)
    return found


def student(
    setting: Setting, cell: Cell, seed: int, balancer: Mapping[str, Any], taught: list[Tensor]
) -> tuple[nn.Module, float]:
    """A student after all rounds under a policy, and the mean of its λ."""
    experiment = Experiment.of(setting.config(cell, seed, balancer))
    public = setting.public(cell, experiment)
    distiller = new_distiller(experiment, experiment.initial_model())
    held_out = Validation(public.validation, public.told[public.validation])
    found = [
        distiller.distil(
            Teacher.from_logits(logits), public.inputs, public.labels, round=round, validation=held_out
        ).mean_lambda
        for round, logits in enumerate(taught, start=1)
    ]
    return distiller.student, float(np.mean(found))
