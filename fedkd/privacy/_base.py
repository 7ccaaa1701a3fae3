"""The base class of every logit mechanism."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor


class LogitMechanism(ABC):
    """Transforms a client's logits before they leave the client."""

    @abstractmethod
    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: torch.Generator
    ) -> Float[Tensor, "samples classes"]:
        """The logits to release, drawn with ``generator``."""

    @abstractmethod
    def epsilon(self, *, releases: int, delta: float) -> float | None:
        """The proved ε of ``releases`` releases at ``delta``; None where there is no proof."""
