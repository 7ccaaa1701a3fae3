"""What a model's confidence in all candidates of a class has in common."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

PRIOR_CANDIDATES = 2
"""For how many candidates the guess that there is nothing in common counts."""


def without_common_mood(
    confidence: Float[Tensor, "*batch candidates"],
    shadows: Float[Tensor, "shadows candidates"],
    included: Bool[Tensor, "shadows candidates"],
    labels: Int[Tensor, " candidates"],
) -> Float[Tensor, "*batch candidates"]:
    """Confidences less how much surer than usual the model is of the other candidates of the class, on average.

    A model that is surer of a class, for whatever its training drew, is so of all its samples: that is noise to
    whoever asks about one of them. Usual is, for a candidate, the middle of its means over ``shadows`` with and without
    it; who of the others are members need not be known, for half of them are.
    """
    inside, outside = included.double(), (~included).double()
    means = [(shadows * chosen).sum(dim=0) / chosen.sum(dim=0).clamp_min(1) for chosen in (inside, outside)]
    unusual = confidence - (means[0] + means[1]) / 2
    others = (labels[:, None] == labels[None, :]).double().fill_diagonal_(0)
    weights = others / (others.sum(dim=1, keepdim=True) + PRIOR_CANDIDATES)
    return confidence - unusual @ weights.T
