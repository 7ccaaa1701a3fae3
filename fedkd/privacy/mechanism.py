"""The base class of every logit mechanism."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fedkd.privacy.accounting import composed_epsilon, repeated
from fedkd.privacy.guarantee import Release
from fedkd.privacy.private import Private


@dataclass(frozen=True)
class PrivateTraining:
    """DP-SGD's two constants: each sample's gradient is clipped to ``clip_norm``, and their sum gets Gaussian noise of
    standard deviation ``noise_multiplier``·``clip_norm``.
    """

    noise_multiplier: float
    clip_norm: float


@dataclass(frozen=True)
class NoisyTraining:
    """``training`` with the generator of its Poisson samples and its noise, which nothing else draws from.

    ``most`` is how many samples a client may have, where its schedule is not to depend on how many it has (None: it
    does).
    """

    training: PrivateTraining
    noise: np.random.Generator
    most: int | None = None


class LogitMechanism(ABC):
    """Transforms a client's logits before they leave the client, or asks it to train so that they may.

    A mechanism with a proof is ``Private`` besides. ``training`` is the private training that the proof rests on; None
    where it rests on ``privatise`` alone.
    """

    @property
    def training(self) -> PrivateTraining | None:
        return None

    @final
    @property
    def trains_privately(self) -> bool:
        """Whether clients train privately, known even before the noise is."""
        return type(self).training is not LogitMechanism.training

    @abstractmethod
    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
    ) -> Float[Tensor, "samples classes"]:
        """The logits to release in a round, all that the round releases; noise comes from ``generator`` alone."""

    @final
    def epsilon(self, *, releases: int, delta: float, release: Release | None = None) -> float | None:
        """ε of ``releases`` equal rounds at ``delta``; None where nothing is proved.

        Raises ``ValueError`` where something is proved and ``release`` is missing, on which it depends.
        """
        if not isinstance(self, Private):
            return None
        if release is None:
            raise ValueError("release must say what a round releases; ε depends on it")
        return composed_epsilon(repeated(self.dp_event(release), releases), delta)
