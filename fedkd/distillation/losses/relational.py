"""How the samples of a batch lie to one another."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from fedkd.config.values import NonNegative
from fedkd.distillation.loss import Answers, Batch, DistillationLoss
from fedkd.distillation.losses._scale_free import to_unit


@dataclass(kw_only=True)
class Relational(DistillationLoss):
    """``distance``·RKD-D + ``angle``·RKD-A (Park et al. 2019, arXiv:1904.05068, Eqs. 4 to 8).

    RKD-D compares the distances of pairs of samples, divided by their mean; RKD-A the cosines of the angles of triples;
    both by Huber's loss, averaged over pairs and triples of different samples, each weighing as its samples' weights
    multiplied. Shifts, rotations and factors of the whole space change nothing, and the spaces may have different
    dimensions. They are those of the logits, centred by sample, for an ensemble's log-probabilities are logits but for
    a shift; or of the outputs of ``layers`` (the student's to the teacher's, as ``named_modules`` has them), which
    add up. Time and memory grow with the cube of the batch.
    """

    distance: NonNegative = 25.0
    angle: NonNegative = 50.0
    layers: dict[str, str] = field(default_factory=dict)

    @property
    def needs_network(self) -> bool:
        return bool(self.layers)

    def pairs(self, student: nn.Module, teacher: nn.Module) -> Mapping[str, str]:
        return self.layers

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        given = torch.ones_like(student.logits[:, 0]) if batch.weight is None else batch.weight
        weight = to_unit(given, (0,))
        spaces = [(each.flatten(1), teacher.features[name].flatten(1)) for name, each in student.features.items()]
        if not self.layers:
            spaces = [(_centred(student.logits), _centred(teacher.logits))]
        return torch.stack([self._between(own, its, weight) for own, its in spaces]).sum()

    def _between(self, own: Tensor, its: Tensor, weight: Tensor) -> Tensor:
        different = 1.0 - torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
        pairs = weight.unsqueeze(1) * weight * different
        triples = pairs.unsqueeze(2) * (weight * different).unsqueeze(1) * different
        own_ways, its_ways = _ways(own), _ways(its)
        distance = smooth_l1_loss(_distances(own_ways, pairs), _distances(its_ways, pairs), reduction="none")
        angle = smooth_l1_loss(_cosines(own_ways), _cosines(its_ways), reduction="none")
        return self.distance * _mean(distance, pairs) + self.angle * _mean(angle, triples)


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def _ways(space: Float[Tensor, "samples width"]) -> Float[Tensor, "samples samples width"]:
    """From every sample to every other, the longest of a size near 1."""
    return to_unit(space - space.unsqueeze(1), (0, 1, 2))


def _lengths(ways: Tensor) -> Tensor:
    """Without a gradient where they are 0, which the square root has not."""
    squares = ways.square().sum(dim=2)
    return squares.where(squares > 0, 1.0).sqrt() * (squares > 0)


def _distances(ways: Tensor, pairs: Tensor) -> Float[Tensor, "samples samples"]:
    """Divided by their mean over the pairs; 0 where all samples are the same."""
    lengths = _lengths(ways)
    mean = _mean(lengths, pairs)
    return lengths / mean.where(mean > 0, 1.0)


def _cosines(ways: Tensor) -> Float[Tensor, "samples samples samples"]:
    """Of the angle at the first sample between the other two; 0 where two are the same."""
    lengths = _lengths(ways).unsqueeze(2)
    directions = ways / lengths.where(lengths > 0, 1.0)
    return directions @ directions.transpose(1, 2)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum()
    return (weight * values).sum() / total.where(total > 0, 1.0)
