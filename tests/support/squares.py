"""A loss between layers, for tests."""

from dataclasses import dataclass

from torch import Size, Tensor, nn

from fedkd.distillation.divergence import weighted_mean
from fedkd.distillation.loss import Answers, Batch, LayerLoss


@dataclass(kw_only=True)
class Squares(LayerLoss):
    """Mean squares between layers, the student's projected where it is of another width."""

    def projection(self, student: Size, teacher: Size) -> nn.Module | None:
        return None if student == teacher else nn.Linear(student[1], teacher[1])

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Tensor:
        squares = [(mine - teacher.features[name]).square().mean(dim=1) for name, mine in student.features.items()]
        return weighted_mean(sum(squares, start=squares[0] * 0), batch.weight)
