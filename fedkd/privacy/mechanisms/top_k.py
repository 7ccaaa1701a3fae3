"""Only the largest classes; not private."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from fedkd.core.codecs.top_k import TopK as TopKCodec
from fedkd.privacy.mechanism import LogitMechanism


@dataclass(frozen=True)
class TopK(LogitMechanism):
    """Releases the ``k`` largest logits in half precision; the other classes share the probability that is left evenly.

    Proves nothing. The codec ``top_k`` discloses as much in fewer bytes.
    """

    k: int = 3

    def __post_init__(self) -> None:
        TopKCodec(k=self.k, bits=16)

    def privatise(
        self, logits: Float[Tensor, "samples classes"], generator: np.random.Generator
    ) -> Float[Tensor, "samples classes"]:
        codec = TopKCodec(k=self.k, bits=16)
        return codec.decode(codec.encode(logits).data, samples=len(logits), classes=logits.shape[1]).logits
