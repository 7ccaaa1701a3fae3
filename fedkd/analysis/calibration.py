"""Whether probabilities are what they say, and a temperature that mends them (Guo et al. 2017, arXiv 1706.04599)."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy import optimize
from torch import Tensor

BINS = 15
COLDEST, HOTTEST = 0.01, 100.0
"""The temperatures between which the best one is looked for."""


@dataclass(frozen=True)
class Reliability:
    """Samples in bins of equal width by the probability of their top class; both means are 0 in empty bins.

    ``share`` is that of all samples; the bins of section 2 are open on the left and closed on the right.
    """

    confidence: Float[Tensor, " bins"]
    accuracy: Float[Tensor, " bins"]
    share: Float[Tensor, " bins"]

    @property
    def error(self) -> float:
        """The expected calibration error, in [0, 1]: Σ share·|accuracy − confidence| (equation 3)."""
        return float((self.share * (self.accuracy - self.confidence).abs()).sum())


def reliability(
    log_probabilities: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"], *, bins: int = BINS
) -> Reliability:
    """How often the top class is right, by how probable it is said to be; takes a sample at least."""
    top = log_probabilities.double().max(dim=-1)
    confidence, right = top.values.exp(), (top.indices == labels).double()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    place = torch.bucketize(confidence, edges)
    count = torch.bincount(place, minlength=bins).double()
    sums = [torch.bincount(place, each, minlength=bins) for each in (confidence, right)]
    return Reliability(sums[0] / count.clamp_min(1), sums[1] / count.clamp_min(1), count / len(labels))


def negative_log_likelihood(
    log_probabilities: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]
) -> float:
    """−log p of the label, in nats, on average."""
    return -float(log_probabilities.double().gather(1, labels[:, None]).mean())


def brier_score(log_probabilities: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]) -> float:
    """Σ (p − 1[label])² over all classes, on average over samples (Brier 1950): from 0 to 2."""
    probabilities = log_probabilities.double().exp()
    return float((probabilities - torch.nn.functional.one_hot(labels, probabilities.shape[1])).square().sum(1).mean())


def scaled(log_probabilities: Float[Tensor, "samples classes"], temperature: float) -> Float[Tensor, "samples classes"]:
    """The log-probabilities at another temperature: softmax(z/T) is softmax(log p/T)."""
    return (log_probabilities.double() / temperature).log_softmax(dim=-1)


def fitted_temperature(
    log_probabilities: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]
) -> float | None:
    """The temperature T at which the labels are likeliest (section 4.2, temperature scaling).

    None where none between ``COLDEST`` and ``HOTTEST`` is, as where every sample is right or the classes are guessed.
    """
    logits = log_probabilities.double()
    named = logits.gather(1, labels[:, None]).mean()

    def slope(log_temperature: float) -> float:
        # That of the negative log-likelihood by 1/T, in which it is convex.
        at = (logits / math.exp(log_temperature)).softmax(dim=-1)
        return float((at * logits).sum(dim=1).mean() - named)

    coldest, hottest = math.log(COLDEST), math.log(HOTTEST)
    if not slope(coldest) > 0 > slope(hottest):
        return None
    return math.exp(optimize.brentq(slope, coldest, hottest, xtol=1e-10))
