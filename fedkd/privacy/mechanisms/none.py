"""No protection: the logits leave as they are."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fedkd.privacy.mechanism import LogitMechanism


@dataclass(frozen=True)
class NoMechanism(LogitMechanism):
    """Releases the logits unchanged; nothing is proved about them."""

    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
    ) -> Float[Tensor, "samples classes"]:
        return logits
