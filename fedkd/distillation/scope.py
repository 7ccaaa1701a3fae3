"""Which classes the losses are about, where a student learns some that its teacher, its former self, does not know."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.distillation.divergence import classification_loss
from fedkd.distillation.heads import Heads
from fedkd.distillation.loss import Answers, Batch

Loss = Callable[[Answers, Answers, Batch], Tensor]


@dataclass(frozen=True, eq=False)
class Scope:
    """Both losses over all classes, and where networks learn several tasks, summed over their ``heads``."""

    heads: Heads = field(default=(), kw_only=True)

    def task(
        self, logits: Float[Tensor, "samples outputs"], labels: Int[Tensor, "samples *heads"]
    ) -> Float[Tensor, ""]:
        """L_cls."""
        return classification_loss(logits, labels, self.heads)

    def dist(
        self, loss: Loss, student: Answers, teacher: Answers, batch: Batch, samples: Int[Tensor, " samples"]
    ) -> Float[Tensor, ""]:
        """L_dist, of ``loss``; ``samples`` are positions among all samples of the round."""
        return loss(student, teacher, batch)


@dataclass(frozen=True, eq=False)
class ClassesSoFar(Scope):
    """One head for all classes, of which the student has ``seen`` some, and its former self was ``taught`` fewer.

    L_cls chooses among the seen ones. L_dist is over the taught ones alone where a sample is new (Li & Hoiem 2017,
    arXiv 1606.09282, Eq. 2: the old tasks' outputs). A ``rehearsed`` sample is of none of the new classes, and there
    the former self is taken to give each of them the logit of the least likely class it knows: so L_dist is over all
    seen classes, and keeps new ones from being named where an old one is right.
    """

    seen: Int[Tensor, " seen"]
    taught: Int[Tensor, " taught"]
    rehearsed: Bool[Tensor, " all"]

    def task(self, logits: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]) -> Float[Tensor, ""]:
        unseen = torch.ones_like(logits[0], dtype=torch.bool)
        unseen[self.seen] = False
        return classification_loss(logits.masked_fill(unseen, -math.inf), labels)

    def dist(
        self, loss: Loss, student: Answers, teacher: Answers, batch: Batch, samples: Int[Tensor, " samples"]
    ) -> Float[Tensor, ""]:
        weight = torch.ones_like(student.logits[:, 0]) if batch.weight is None else batch.weight
        known = teacher.logits[:, self.taught]
        guessed = known.amin(dim=1, keepdim=True).expand_as(teacher.logits).clone()
        guessed[:, self.taught] = known
        taught = Answers(guessed, teacher.features)
        old = self.rehearsed[samples]
        value = student.logits.new_zeros(())
        for rows, classes in ((~old, self.taught), (old, self.seen)):
            if bool(rows.any()):
                part = loss(
                    _part(student, rows, classes), _part(taught, rows, classes), _batch(batch, weight, rows, classes)
                )
                value = value + part * weight[rows].sum() / weight.sum()
        return value


def _part(answers: Answers, rows: Tensor, classes: Tensor) -> Answers:
    return Answers(answers.logits[rows][:, classes], {name: each[rows] for name, each in answers.features.items()})


def _batch(batch: Batch, weight: Tensor, rows: Tensor, classes: Tensor) -> Batch:
    """The same of some samples, whose labels are positions in ``classes``, or unknown."""
    labels = batch.labels[rows]
    among = labels.unsqueeze(1) == classes.to(labels.device)
    positions = torch.where(among.any(dim=1), among.int().argmax(dim=1), UNKNOWN_LABEL)
    temperature = batch.temperature[rows] if isinstance(batch.temperature, Tensor) else batch.temperature
    return Batch(temperature, positions, weight[rows])
