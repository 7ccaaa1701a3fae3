"""Gaussians of a candidate's confidence in models that have, or have not, trained on it."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LOCAL_VARIANCE_SHADOWS = 64
"""Shadows below which one variance serves all candidates: few shadows fix none (Carlini et al. 2022, VI-C)."""
PRIOR_SHADOWS = 32
"""For how many shadows the common variance counts beside a candidate's own, where that is used."""
_FLOOR = 1e-6
"""Smallest variance: that of models which all say exactly the same."""


@dataclass(frozen=True)
class Gaussians:
    """A normal distribution for each candidate.

    ``mean`` and ``scale`` are [measurements, candidates]; ``correlation`` [measurements, measurements] serves all.
    ``counts`` [1, candidates] says from how many models they come.
    """

    mean: Array
    scale: Array
    correlation: Array
    counts: Array

    @classmethod
    def fit(cls, confidence: Array, chosen: npt.NDArray[np.bool_], *, shadows: int) -> "Gaussians":
        """From confidences [shadows, measurements, candidates] where ``chosen`` [shadows, candidates]."""
        weight = chosen[:, np.newaxis, :].astype(np.float64)
        counts = np.maximum(weight.sum(axis=0), 1.0)
        mean = (confidence * weight).sum(axis=0) / counts
        rest = (confidence - mean) * weight
        # A mean that was fitted takes one degree of freedom of every candidate.
        freedom = max(float(weight.sum() - weight.shape[2]), 1.0)
        covariance = np.einsum("sdk,sek->de", rest, rest) / freedom
        deviation = np.sqrt(np.maximum(np.diag(covariance), _FLOOR))
        correlation = covariance / np.outer(deviation, deviation)
        # Views that always agree would make it singular.
        correlation = 0.99 * correlation + 0.01 * np.eye(len(deviation))
        np.fill_diagonal(correlation, 1.0)
        if shadows >= LOCAL_VARIANCE_SHADOWS:
            # As a weighted mean with the common one, lest a variance measured as next to nothing outshout all others.
            common = PRIOR_SHADOWS * np.diag(covariance)[:, np.newaxis]
            scale = np.sqrt(np.maximum((common + (rest**2).sum(axis=0)) / (PRIOR_SHADOWS + counts - 1), _FLOOR))
        else:
            scale = np.repeat(deviation[:, np.newaxis], mean.shape[1], axis=1)
        return cls(mean, scale, correlation, counts)

    def standardised(self, confidence: Array) -> Array:
        """How many standard deviations confidences [measurements, candidates] lie above the mean."""
        return np.asarray((confidence - self.mean) / self.scale)

    def log_density(self, confidence: Array) -> Array:
        """Per candidate, but for a constant."""
        away = self.standardised(confidence)
        quadratic = np.einsum("dk,dk->k", away, np.linalg.solve(self.correlation, away))
        return np.asarray(
            -0.5 * quadratic - np.log(self.scale).sum(axis=0) - 0.5 * np.linalg.slogdet(self.correlation)[1]
        )

    def surprise(self, confidence: Array) -> Array:
        """The standard score of the best linear combination of measurements that all rise together."""
        weights = np.linalg.solve(self.correlation, np.ones(len(self.correlation)))
        # Measurements that contradict each other would get negative weights, for which there is no reason.
        weights = np.maximum(weights, 0.0)
        spread = np.sqrt(weights @ self.correlation @ weights)
        return np.asarray(weights @ self.standardised(confidence) / spread)


def shrunk(inside: Gaussians, outside: Gaussians) -> tuple[Gaussians, Gaussians]:
    """The same with the gaps between the two means drawn together, as far as the noise of the means explains them."""
    gap, middle = inside.mean - outside.mean, (inside.mean + outside.mean) / 2
    noise = inside.scale**2 / inside.counts + outside.scale**2 / outside.counts
    typical = gap.mean(axis=1, keepdims=True)
    signal = np.maximum(gap.var(axis=1, keepdims=True) - noise.mean(axis=1, keepdims=True), 0.0)
    gap = typical + signal / (signal + noise) * (gap - typical)
    return replace(inside, mean=middle + gap / 2), replace(outside, mean=middle - gap / 2)


def likelihood_ratio(shadows: Array, included: npt.NDArray[np.bool_], answers: Array, *, shrink: bool) -> Array:
    """log N(answers; in) − log N(answers; out) per candidate; ``shrink`` draws the gaps between means together.

    ``shadows`` are [shadows, measurements, candidates], ``answers`` [measurements, candidates].
    """
    count = len(shadows)
    inside, outside = (Gaussians.fit(shadows, chosen, shadows=count) for chosen in (included, ~included))
    if shrink:
        inside, outside = shrunk(inside, outside)
    return np.asarray(inside.log_density(answers) - outside.log_density(answers))
