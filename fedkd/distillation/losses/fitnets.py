"""The distance between features of the two networks."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Size, Tensor, nn

from fedkd.distillation.divergence import weighted_mean
from fedkd.distillation.loss import Answers, Batch, LayerLoss
from fedkd.distillation.losses._maps import to_smaller


@dataclass(kw_only=True)
class Fitnets(LayerLoss):
    """Half the mean squared difference of each pair's features (Romero et al. 2015, arXiv:1412.6550, Eq. 3).

    Where the student's layer is narrower or wider, a projection learns to say its features in the teacher's terms: a
    1×1 convolution of maps [samples, channels, height, width], a linear layer of vectors [samples, width] and of steps
    [samples, time, width]. Maps of different sides are averaged to the smaller. Pairs add up.
    """

    def projection(self, student: Size, teacher: Size) -> nn.Module | None:
        comparable = len(student) == len(teacher) and len(student) in (2, 3, 4)
        if not comparable or (len(student) == 3 and student[1] != teacher[1]):
            raise ValueError(
                "both must be vectors [samples, width], as many steps [samples, time, width], or maps [samples, "
                f"channels, height, width]; got {tuple(student)} and {tuple(teacher)}"
            )
        maps = len(student) == 4
        own, its = (student[1], teacher[1]) if maps else (student[-1], teacher[-1])
        if own == its:
            return None
        return nn.Conv2d(own, its, 1) if maps else nn.Linear(own, its)

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        values = student.logits.new_zeros(len(student.logits))
        for name, features in student.features.items():
            own, its = to_smaller(features, teacher.features[name])
            values = values + (own - its).square().flatten(1).mean(dim=1) / 2.0
        return weighted_mean(values, batch.weight)
