"""Which other classes a model thinks of: the knowledge in soft targets (Hinton et al. 2015, arXiv 1503.02531)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.analysis.correlation import rank_correlation

Relations = Float[Tensor, "classes classes"]


def relations(
    log_probabilities: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"], temperature: float
) -> Relations:
    """By true class (row), how what a model gives to other classes (column) is divided among them, at a temperature.

    Rows sum to 1, with 0 on the diagonal: the mean over the class's samples of softmax(z/T), without its own class.
    Rows of classes without samples are NaN.
    """
    classes = log_probabilities.shape[1]
    soft = (log_probabilities.double() / temperature).softmax(dim=-1)
    others = soft.scatter(1, labels[:, None], 0.0)
    sums = torch.zeros(classes, classes, dtype=torch.float64).index_add_(0, labels, others)
    return sums / sums.sum(dim=1, keepdim=True)


def agreement(first: Relations, second: Relations) -> float | None:
    """The rank correlation of the two models' relations between different classes, in [-1, 1].

    Of the classes of which both have samples; None where they relate all classes alike, as where there are but two.
    """
    known = first.isfinite().all(dim=1) & second.isfinite().all(dim=1)
    apart = ~torch.eye(len(first), dtype=torch.bool) & known[:, None]
    return rank_correlation(first[apart], second[apart])


def strongest(found: Relations, count: int) -> list[tuple[int, int, float]]:
    """The largest relations: true class, other class, and that one's share."""
    order = found.nan_to_num(nan=-1.0).flatten().sort(descending=True, stable=True).indices[:count].tolist()
    places = [divmod(place, len(found)) for place in order]
    return [(row, column, float(found[row, column])) for row, column in places if found[row, column] > 0]
