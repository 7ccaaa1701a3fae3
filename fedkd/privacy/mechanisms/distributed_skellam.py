"""Noise that clients add inside a secure sum."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fedkd.privacy.accounting import DpEvent, GaussianEvent
from fedkd.privacy.calibration import check_noise, fixed_noise
from fedkd.privacy.guarantee import Guarantee, Release
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.private import Private
from fedkd.privacy.secure_noise import SecureNoise, Steps
from fedkd.privacy.secure_sum.fixed_point import FixedPoint
from fedkd.privacy.signal_to_noise import mean_sentence

LEAST_VARIANCE = 2.0**20
"""Of the whole noise, in squared steps; the proof's excess over Gaussian noise is 4 divided by it."""

MOST_RATE = 2.0**32
"""Largest rate of a Poisson draw: beyond it NumPy's sampler loses the digits that tell one reply from the next."""

TAIL = 8.0
"""Standard deviations of noise for which there has to be room; a sum beyond wraps around, which costs accuracy only."""


@dataclass(frozen=True)
class DistributedSkellam(LogitMechanism, Private, SecureNoise):
    """Differential privacy of a client's whole data without trusting the server with the sum.

    The Skellam mechanism (Agarwal, Kairouz and Liu 2021, arXiv 2110.04995), only under secure aggregation. Each client
    adds to every number of its summand, in whole steps of the fixed point, Skellam noise (the difference of two Poisson
    draws) of variance σ²/h, where h = threshold − colluders is how many honest clients are in any sum. Skellam noise
    adds up to Skellam noise, so that every sum has noise of variance σ² at least that no colluder knows; rounding comes
    before the noise, and reduction modulo 2³² after it.

    Summands must be distributions (probabilities or votes): N of them, as whole numbers, are Δ = √(2N) apart at most
    under replace-one; σ is ``noise_multiplier``·Δ. Corollary 3.6 bounds the Rényi divergence at whole orders α by
    αΔ²/(2μ) + ((2α − 1)Δ² + 6Δ₁)/(4μ²), with μ = σ² and Δ₁ ≤ Δ² in steps, which is below α/(2z²)·(1 + 4/μ). Give
    ``target_epsilon``, ε of the whole run, instead of the multiplier, and that follows.

    That the server sees only the sum rests on secure aggregation, hence on cryptography.
    """

    noise_multiplier: float | None = None
    target_epsilon: float | None = None

    def __post_init__(self) -> None:
        check_noise(self.noise_multiplier, self.target_epsilon)

    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
    ) -> Float[Tensor, "samples classes"]:
        """The logits as they are: the noise comes with ``noised``."""
        return logits

    def fixed_point(self, bits: int | None, *, queries: int, classes: int, clients: int, honest: int) -> FixedPoint:
        deviation = self._deviation(queries)
        slack = TAIL * deviation * math.sqrt(clients / honest)
        # Each of two Poisson draws has half of a client's variance.
        coarse = math.floor(math.log2(math.sqrt(2 * MOST_RATE * honest) / deviation))
        most = min(FixedPoint.most_bits(clients, 1.0, slack), coarse)
        chosen = most if bits is None else bits
        if chosen > most or most < 1:
            raise ValueError(
                f"noise of standard deviation {deviation:.4g} on the sum of {clients} reports leaves room for {most} "
                f"fractional bits, got {chosen}; leave privacy.secure_aggregation.bits null, or lower the noise"
            )
        if math.ldexp(deviation, chosen) ** 2 < LEAST_VARIANCE:
            raise ValueError(
                f"steps of 2^-{chosen} are too coarse for noise of standard deviation {deviation:.4g}, whose proof "
                f"takes {math.sqrt(LEAST_VARIANCE):g} steps; leave privacy.secure_aggregation.bits null"
            )
        return FixedPoint(chosen, clients, 1.0, slack)

    def noised(self, steps: Steps, fixed_point: FixedPoint, *, honest: int, generator: np.random.Generator) -> Steps:
        whole = 1 << fixed_point.bits
        if int(steps.min(initial=0)) < 0:
            raise ValueError("summands must be distributions, and one has a negative share; choose another teacher")
        excess = np.maximum(steps.sum(axis=1) - whole, 0)
        if int(excess.max(initial=0)) > steps.shape[1]:
            raise ValueError("summands must be distributions, and one adds up to more than 1; choose another teacher")
        # Float32 may add up to a step more than 1; within 1 the distance of two is √2 steps·2^bits at most.
        bounded = steps.copy()
        bounded[np.arange(len(steps)), steps.argmax(axis=1)] -= excess
        rate = math.ldexp(self._deviation(len(steps)), fixed_point.bits) ** 2 / (2 * honest)
        return bounded + generator.poisson(rate, steps.shape) - generator.poisson(rate, steps.shape)

    def guarantee(self, release: Release) -> Guarantee:
        return Guarantee(
            unit="client",
            neighbouring="replace_one",
            adversary="distributed",
            sensitivity=_sensitivity(release.queries),
            noise=self._deviation(release.queries),
            query="the sum of the clients' distributions, at the fewest clients that make a sum",
            excludes="who took part",
        )

    def dp_event(self, release: Release) -> DpEvent:
        multiplier = fixed_noise(self.noise_multiplier) / math.sqrt(1 + 4 / LEAST_VARIANCE)
        return (GaussianEvent(multiplier, concentrated=True),)

    def signal_to_noise(self, release: Release) -> str:
        return mean_sentence(release, fixed_noise(self.noise_multiplier), "central")

    def _deviation(self, queries: int) -> float:
        """σ of the noise on a sum, in the summands' units."""
        return fixed_noise(self.noise_multiplier) * _sensitivity(queries)


def _sensitivity(queries: int) -> float:
    """√(2N): two distributions have no negative product, and neither is longer than 1."""
    return math.sqrt(2 * max(queries, 1))
