"""Nothing but the top class; not private."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fedkd.core.codecs.one_hot import OneHot
from fedkd.privacy.mechanism import LogitMechanism


@dataclass(frozen=True)
class LabelOnly(LogitMechanism):
    """Releases the most likely class, as a distribution with ``confidence`` on it and the rest spread evenly.

    Proves nothing: which class is on top depends on the private data in full, and label-only membership attacks live
    off it (Choquette-Choo et al. 2021, arXiv 2007.14321). The codec ``one_hot`` discloses as much in fewer bytes.
    """

    confidence: float = 0.99

    def __post_init__(self) -> None:
        OneHot(confidence=self.confidence)

    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
    ) -> Float[Tensor, "samples classes"]:
        codec = OneHot(confidence=self.confidence)
        return codec.decode(codec.encode(logits).data, samples=len(logits), classes=logits.shape[1]).logits
