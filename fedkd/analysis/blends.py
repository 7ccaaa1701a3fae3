"""Samples whose true distribution is known, because they are mixed from two of different classes."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fedkd.analysis.subject import Samples

WEIGHTS = tuple(tenth / 10 for tenth in range(1, 10))
"""How much of the first sample is in a blend."""
_CLOSEST = 1e-12
"""Shares come no closer to 0 and 1, so that divergences are finite."""


@dataclass(frozen=True)
class Blends:
    """``inputs`` are w·x₁ + (1 − w)·x₂, as in mixup (Zhang et al. 2018, arXiv 1710.09412).

    ``first`` and ``second`` are the classes of x₁ and x₂, ``weights`` the w: the truth is (w, 1 − w) on the two.
    """

    inputs: Shaped[Tensor, "blends ..."]
    first: Int[Tensor, " blends"]
    second: Int[Tensor, " blends"]
    weights: Float[Tensor, " blends"]

    def shares(self, log_probabilities: Float[Tensor, "blends classes"]) -> Float[Tensor, " blends"]:
        """p₁/(p₁ + p₂): what a model gives to the first class, of what it gives to the two."""
        of = [log_probabilities.double().gather(1, each[:, None]).squeeze(1) for each in (self.first, self.second)]
        return (of[0] - of[1]).sigmoid()

    def divergence(self, shares: Float[Tensor, " blends"]) -> Float[Tensor, " blends"]:
        """KL of the truth (w, 1 − w) from (share, 1 − share), in nats."""
        truth, said = self.weights.double(), shares.double().clamp(_CLOSEST, 1 - _CLOSEST)
        return truth * (truth / said).log() + (1 - truth) * ((1 - truth) / (1 - said)).log()

    def by_weight(self, shares: Float[Tensor, " blends"]) -> list[float | None]:
        """The mean share at each of ``WEIGHTS``; None at one that no blend has."""
        places = torch.arange(len(shares)) % len(WEIGHTS)
        found = [shares[places == place] for place in range(len(WEIGHTS))]
        return [float(each.double().mean()) if len(each) else None for each in found]


def blend(samples: Samples, count: int, generator: torch.Generator) -> Blends | None:
    """So many pairs of samples of different classes, each mixed with a weight of ``WEIGHTS`` in turn.

    None where all samples are of one class. Samples are float numbers.
    """
    if samples.labels.unique().numel() < 2:
        return None
    first = torch.randint(len(samples.labels), (count,), generator=generator)
    second = torch.stack([_of_another_class(samples.labels, int(each), generator) for each in first])
    weights = torch.tensor(WEIGHTS)[torch.arange(count) % len(WEIGHTS)]
    share = weights.reshape(-1, *[1] * (samples.inputs.ndim - 1)).to(samples.inputs.dtype)
    return Blends(
        share * samples.inputs[first] + (1 - share) * samples.inputs[second],
        samples.labels[first],
        samples.labels[second],
        weights,
    )


def _of_another_class(labels: Int[Tensor, " samples"], sample: int, generator: torch.Generator) -> Int[Tensor, ""]:
    others = (labels != labels[sample]).nonzero().flatten()
    return others[torch.randint(len(others), (), generator=generator)]
