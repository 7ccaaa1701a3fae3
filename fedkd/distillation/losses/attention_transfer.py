"""Where in the image the two networks look."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Size, Tensor, nn

from fedkd.distillation.divergence import weighted_mean
from fedkd.distillation.loss import Answers, Batch, LayerLoss
from fedkd.distillation.losses._maps import to_smaller
from fedkd.distillation.losses._scale_free import to_unit


@dataclass(kw_only=True)
class AttentionTransfer(LayerLoss):
    """Half the squared distance between each pair's attention maps (Zagoruyko & Komodakis 2017, arXiv:1612.03928).

    An attention map is the sum of squares over channels, divided by its norm, as in Eq. 2. Squared, as in the authors'
    own code, for the distance of Eq. 2 has no gradient where maps agree; half of it is 1 − cosine, within [0, 1].
    Layers may have any number of channels; maps of different sides are averaged to the smaller. Of steps [samples,
    time, width] the map is over time. Pairs add up.
    """

    def projection(self, student: Size, teacher: Size) -> nn.Module | None:
        maps, steps = len(student) == len(teacher) == 4, len(student) == len(teacher) == 3
        if not maps and not (steps and student[1] == teacher[1]):
            raise ValueError(
                "both must be maps [samples, channels, height, width], or as many steps [samples, time, width]; "
                f"got {tuple(student)} and {tuple(teacher)}"
            )
        return None

    def value(self, student: Answers, teacher: Answers, batch: Batch) -> Float[Tensor, ""]:
        values = student.logits.new_zeros(len(student.logits))
        for name, features in student.features.items():
            own, its = (
                _normalised(each) for each in to_smaller(_attention(features), _attention(teacher.features[name]))
            )
            values = values + (own - its).square().sum(dim=1) / 2.0
        return weighted_mean(values, batch.weight)


def _attention(features: Tensor) -> Tensor:
    """The sum of squares over channels, which stay as one: [samples, 1, height, width], or [samples, time, 1]."""
    unit = to_unit(features, tuple(range(1, features.ndim)))
    return unit.square().sum(dim=1 if features.ndim == 4 else 2, keepdim=True)


def _normalised(attention: Tensor) -> Float[Tensor, "samples places"]:
    """Of length 1; features that are all 0 stay so."""
    return nn.functional.normalize(attention.flatten(1), dim=1)
