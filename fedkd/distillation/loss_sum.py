"""L_dist: the sum of the losses, with the projections that they learn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedkd.config.schema import DistillationConfig
from fedkd.core.seeding import ambient_randomness
from fedkd.distillation.heads import labels_by_head, split
from fedkd.distillation.loss import Answers, Batch, DistillationLoss
from fedkd.distillation.network import NetworkTeacher
from fedkd.models import make_optimiser, tapped


@dataclass(frozen=True)
class _Part:
    """A loss, the layers that it compares, and its projections by the names of the student's."""

    loss: DistillationLoss
    pairs: Mapping[str, str]
    projections: Mapping[str, nn.Module]

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Tensor:
        """The loss's part of the sum."""
        mine = {
            name: self.projections[name](student.features[name]) if name in self.projections else student.features[name]
            for name in self.pairs
        }
        theirs = {name: teacher.features[other] for name, other in self.pairs.items()}
        if self.pairs or not self.loss.by_head:
            value = self.loss.value(Answers(student.logits, mine), Answers(teacher.logits, theirs), batch)
            return self.loss.weight * value
        by_head = zip(
            split(student.logits, batch.heads),
            split(teacher.logits, batch.heads),
            labels_by_head(batch.labels, batch.heads),
            strict=True,
        )
        first, *others = (
            self.loss.value(Answers(own, mine), Answers(its, theirs), replace(batch, labels=labels, heads=()))
            for own, its, labels in by_head
        )
        return self.loss.weight * sum(others, start=first)


class LossSum:
    """The losses of one student, for one teacher.

    Projections are drawn from ``draw``; they learn what lowers the sum for the student's features as they are, with an
    optimiser like the student's, and are no part of the gradients that λ is set by.

    Raises ``ValueError`` where a loss compares layers and the teacher is no network (``network`` is None), or where
    layers are not there or do not fit.
    """

    def __init__(
        self,
        losses: Sequence[DistillationLoss],
        student: nn.Module,
        network: NetworkTeacher | None,
        config: DistillationConfig,
        draw: torch.Generator,
    ) -> None:
        pairs = [_pairs(loss, student, network) for loss in losses]
        self.student_layers = frozenset(name for each in pairs for name in each)
        self.teacher_layers = frozenset(name for each in pairs for name in each.values())
        found: list[Mapping[str, nn.Module]] = [{} for _ in losses]
        if network is not None and self.student_layers:
            with ambient_randomness(draw):
                found = list(_projections(losses, pairs, student, network, self.student_layers, self.teacher_layers))
        self._parts = [_Part(*part) for part in zip(losses, pairs, found, strict=True)]
        self._learned = nn.ModuleList(module for each in found for module in each.values())
        self._learned.to(next(student.parameters()).device)
        parameters = list(self._learned.parameters())
        self._optimiser = make_optimiser(parameters, config) if parameters else None

    def __call__(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        """L_dist on a batch."""
        first, *others = (part.value(student, teacher, batch) for part in self._parts)
        return sum(others, start=first)

    def learn(self, student: Answers, teacher: Answers, batch: Batch, rate: float) -> None:
        """One step of the projections, at that learning rate; nothing where there are none."""
        if self._optimiser is None:
            return
        self._optimiser.learning_rate = rate
        features = {name: each.detach() for name, each in student.features.items()}
        self._optimiser.zero_grad()
        self(Answers(student.logits.detach(), features), teacher, batch).backward()
        self._optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """The projections and their optimiser."""
        return {
            "projections": self._learned.state_dict(),
            "optimiser": None if self._optimiser is None else self._optimiser.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""
        self._learned.load_state_dict(state["projections"])
        if self._optimiser is not None:
            self._optimiser.load_state_dict(state["optimiser"])


def _pairs(loss: DistillationLoss, student: nn.Module, network: NetworkTeacher | None) -> Mapping[str, str]:
    if network is not None:
        return loss.pairs(student, network.model)
    if loss.needs_network:
        raise ValueError(
            f"{type(loss).__name__} compares layers, and an ensemble teacher has logits alone; take one network as "
            "the teacher, or a loss on logits"
        )
    return {}


def _projections(
    losses: Sequence[DistillationLoss],
    pairs: Sequence[Mapping[str, str]],
    student: nn.Module,
    network: NetworkTeacher,
    mine: frozenset[str],
    theirs: frozenset[str],
) -> Iterator[dict[str, nn.Module]]:
    """Those of each loss, for the features of two made-up samples."""
    inputs = network.sample.made_up(2, next(student.parameters()))
    training = student.training
    student.eval()
    try:
        with torch.no_grad(), tapped(student, mine) as features:
            student(inputs)
    finally:
        student.train(training)
    others = network.answers(inputs, theirs).features
    for loss, named in zip(losses, pairs, strict=True):
        made = {}
        for name, other in named.items():
            try:
                made[name] = loss.projection(features[name].shape, others[other].shape)
            except ValueError as error:
                raise ValueError(f"layers {name} of the student and {other} of the teacher: {error}") from error
        yield {name: module for name, module in made.items() if module is not None}
