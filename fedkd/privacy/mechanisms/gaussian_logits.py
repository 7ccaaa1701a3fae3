"""Gaussian noise on a client's logits."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fedkd.core.messages import LOGIT_BOUND
from fedkd.privacy.accounting import DpEvent, GaussianEvent
from fedkd.privacy.calibration import check_noise, check_scale, fixed_noise
from fedkd.privacy.clipping import clip_report, clip_vectors
from fedkd.privacy.guarantee import Guarantee, Release, sensitivity_of_sum
from fedkd.privacy.mechanism import LogitMechanism
from fedkd.privacy.noise import gaussian
from fedkd.privacy.private import Private
from fedkd.privacy.signal_to_noise import mean_sentence


@dataclass(frozen=True)
class GaussianLogits(LogitMechanism, Private):
    """Local differential privacy of a client's whole data: logits clipped, then N(0, σ²) added to every one.

    ``clip`` bounds the Euclidean norm of each centred logit vector, or of all of them together (``per``: vector or
    report). Two reports of N vectors are then at most Δ = 2·clip·√N apart, or 2·clip; σ is ``noise_multiplier``·Δ.
    Give ``target_epsilon``, ε of the whole run, instead, and the multiplier follows.

    Covers the logits alone, and clients send nothing else. Needs hundreds of clients before a mean of the reports says
    anything.
    """

    noise_multiplier: float | None = None
    target_epsilon: float | None = None
    clip: float = 5.0
    per: Literal["vector", "report"] = "vector"

    def __post_init__(self) -> None:
        check_noise(self.noise_multiplier, self.target_epsilon)
        check_scale("clip", self.clip)

    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
    ) -> Float[Tensor, "samples classes"]:
        clipped = (clip_vectors if self.per == "vector" else clip_report)(logits, self.clip)
        noise = gaussian(clipped.shape, fixed_noise(self.noise_multiplier) * self.sensitivity(len(logits)), generator)
        noised = clipped + noise
        return noised.clamp(-LOGIT_BOUND, LOGIT_BOUND).float()

    def sensitivity(self, queries: int) -> float:
        """Δ of a report of ``queries`` vectors, under replace-one."""
        bound = self.clip * math.sqrt(queries) if self.per == "vector" else self.clip
        return sensitivity_of_sum(bound, "replace_one")

    def guarantee(self, release: Release) -> Guarantee:
        sensitivity = self.sensitivity(release.queries)
        return Guarantee(
            unit="client",
            neighbouring="replace_one",
            adversary="local",
            sensitivity=sensitivity,
            noise=fixed_noise(self.noise_multiplier) * sensitivity,
            query=f"every logit of a report clipped to {self.clip:g} per {self.per}",
            excludes="who took part, and why a client failed",
        )

    def dp_event(self, release: Release) -> DpEvent:
        return (GaussianEvent(fixed_noise(self.noise_multiplier)),)

    def signal_to_noise(self, release: Release) -> str:
        return mean_sentence(release, fixed_noise(self.noise_multiplier), "local")
