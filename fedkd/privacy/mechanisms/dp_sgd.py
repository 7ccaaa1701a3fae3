"""Differentially private local training; the logits leave as they are."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fedkd.privacy.accounting import DpEvent, GaussianEvent
from fedkd.privacy.calibration import check_noise, check_scale, fixed_noise
from fedkd.privacy.dp_sgd import private_steps, sampling_rate
from fedkd.privacy.guarantee import Guarantee, Release
from fedkd.privacy.mechanism import LogitMechanism, PrivateTraining
from fedkd.privacy.private import Private


@dataclass(frozen=True)
class DpSgd(LogitMechanism, Private):
    """DP-SGD (Abadi et al. 2016, arXiv 1607.00133): protects each private training record of a client.

    In every local step each record is sampled with probability q = batch size/examples, its gradient clipped to
    ``clip_norm``, and N(0, σ²), σ = ``noise_multiplier``·clip_norm, added to the sum; ε is composed over all rounds and
    steps. Give ``target_epsilon``, ε of the whole run for the worst-case client, instead, and the multiplier
    follows. Every answer of a model so trained, on any inputs, is post-processing and needs no more noise.

    Covers what is computed from the trained model alone: not label counts, accuracies on private data, early stopping
    on them, nor what a client rule computes from its samples in another way. How many samples a client has is taken as
    public, for the sampling rate and the number of steps tell it.
    """

    covers: ClassVar[frozenset[str]] = frozenset({"logits", "parameters", "examples"})

    noise_multiplier: float | None = None
    target_epsilon: float | None = None
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        check_noise(self.noise_multiplier, self.target_epsilon)
        check_scale("clip_norm", self.clip_norm)

    @property
    def training(self) -> PrivateTraining:
        return PrivateTraining(fixed_noise(self.noise_multiplier), self.clip_norm)

    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
    ) -> Float[Tensor, "samples classes"]:
        return logits

    def guarantee(self, release: Release) -> Guarantee:
        return Guarantee(
            unit="record",
            neighbouring="add_or_remove",
            adversary="local",
            sensitivity=self.clip_norm,
            noise=self.training.noise_multiplier * self.clip_norm,
            query="the sum of the clipped gradients of each local step",
            excludes="how many samples a client has, which is taken as public; label counts; and whatever else is "
            "computed from private data",
        )

    def dp_event(self, release: Release) -> DpEvent:
        return _event(release, self.training.noise_multiplier)

    def signal_to_noise(self, release: Release) -> str:
        lot = sampling_rate(release.examples, release.batch_size) * release.examples
        steps = private_steps(release.examples, release.batch_size, release.epochs)
        ratio = lot / (self.training.noise_multiplier * math.sqrt(release.parameters))
        return (
            f"a step's gradient is at most {ratio:.2g} times as long as its noise ({lot:g} samples, "
            f"{release.parameters:,} parameters), that of a round's {steps} steps {ratio * math.sqrt(steps):.2g}; "
            "larger batches, fewer parameters or a larger ε raise both"
        )


def _event(release: Release, noise_multiplier: float) -> DpEvent:
    rate = sampling_rate(release.examples, release.batch_size)
    return (GaussianEvent(noise_multiplier, rate, private_steps(release.examples, release.batch_size, release.epochs)),)
