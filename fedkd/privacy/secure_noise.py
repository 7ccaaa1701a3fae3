"""Noise that the clients of a secure sum add themselves, so that nobody has to be trusted with the sum either."""

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt

from fedkd.privacy.secure_sum.fixed_point import FixedPoint

Steps = npt.NDArray[np.int64]


class SecureNoise(ABC):
    """A mechanism whose noise is added to what a client contributes to a secure sum, in whole steps, before masking.

    ``honest`` is the number of clients whose noise is sure to be in every sum: the threshold less the colluders.
    """

    @abstractmethod
    def fixed_point(self, bits: int | None, *, queries: int, classes: int, clients: int, honest: int) -> FixedPoint:
        """How reports of ``queries`` × ``classes`` are written (``bits`` None: as finely as makes sense).

        Raises ``ValueError`` where sum and noise do not fit, or the steps are too coarse for the proof.
        """

    @abstractmethod
    def noised(self, steps: Steps, fixed_point: FixedPoint, *, honest: int, generator: np.random.Generator) -> Steps:
        """A client's contribution ``[queries, classes]`` with its share of the noise."""
