"""Uniform quantisation of probabilities, log-probabilities or logits."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer

from fedkd.core.coding.codec import LogitCodec
from fedkd.core.coding.options import check_range

_ZEROS = 0.01
"""What a row's zeros are worth together if all its codes are zeros, in quantisation steps: log 0 is not finite."""

_RANGES = {"log_probabilities": 8.0, "logits": 16.0}


@dataclass(frozen=True, kw_only=True)
class Quantise(LogitCodec):
    """``bits`` bits per class, with s = 2^bits − 1 steps between the smallest and the largest value.

    ``log_probabilities``: u = z − max z, the log-odds of each class against the most likely one, clipped to
    [−``range``, 0], which is divided into s cells, each read as its middle; one code more marks the most likely class
    (the first of several), which therefore stays so. The error of u is at most range/(2s), half a step, after clipping.
    Measured from the maximum and not from log Σ exp z, no level is spent on normalisation, and softmax is the same. On
    sharp ten-class classifiers the closest to the sender's distribution in KL divergence at equal bits, hence the
    default.

    ``probabilities``: the multiples of 1/s that sum to one and lie closest to p = softmax(z) in L1 distance, that is
    constrained quantisation by largest remainders (CFD, Sattler et al. 2021, Eq. 10, arXiv 2012.00632), ties going to
    the first class where CFD draws. The receiver's softmax is off by less than 1.01/s per class, the hundredth because
    a code of 0 stands for 0.01/(s·classes). One bit sends the most likely class (Eq. 11), as ``one_hot`` does in fewer
    bits.

    ``logits``: z clipped to [−range, range] and rounded to the nearest of s + 1 levels 2·range/s apart. The error is at
    most range/s after clipping. For teachers that use logits beyond what softmax sees of them.

    ``range`` is 8 for log-probabilities and 16 for logits unless given. No differential privacy.
    """

    of: Literal["log_probabilities", "probabilities", "logits"] = "log_probabilities"
    bits: int = 4
    range: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of not in ("log_probabilities", "probabilities", "logits"):
            raise ValueError(f"of must be log_probabilities, probabilities or logits, got {self.of!r}")
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits must lie in [1, 8], got {self.bits}; for more use float16")
        if self.range is not None and self.of == "probabilities":
            raise ValueError(f"range must not be given with probabilities, got {self.range}; leave it out")
        check_range(self.range)

    def alphabets(self, classes: int) -> tuple[int, ...]:
        return (self._steps + 1,) * classes

    def codes_of(self, logits: Float[np.ndarray, "samples classes"]) -> Integer[np.ndarray, "samples columns"]:
        exact = logits.astype(np.float64)
        if self.of == "logits":
            return _rounded((exact.clip(-self._range, self._range) + self._range) / self._step)
        behind = exact.max(axis=1, keepdims=True) - exact
        if self.of == "log_probabilities":
            cells = np.minimum(np.floor(behind / self._step), self._steps - 1)
            first = np.arange(behind.shape[1]) == np.expand_dims(exact.argmax(axis=1), 1)
            return _rounded(np.where(first, 0, cells + 1))
        odds = np.exp(-behind)
        return _apportion(odds / odds.sum(axis=1, keepdims=True), self._steps)

    def logits_of(
        self, codes: Integer[np.ndarray, "samples columns"], classes: int
    ) -> Float[np.ndarray, "samples classes"]:
        if self.of == "logits":
            return codes * self._step - self._range
        if self.of == "log_probabilities":
            if bool(((codes == 0).sum(axis=1) != 1).any()):
                raise ValueError("a row of log-probabilities must have one class with code 0, the most likely one")
            return np.where(codes == 0, 0.0, (0.5 - codes) * self._step)
        if bool((codes.sum(axis=1) != self._steps).any()):
            raise ValueError(f"a row of probabilities does not sum to {self._steps} steps")
        return np.log(np.where(codes == 0, _ZEROS / classes, codes) / self._steps)

    @property
    def _steps(self) -> int:
        return (1 << self.bits) - 1

    @property
    def _range(self) -> float:
        return _RANGES[self.of] if self.range is None else self.range

    @property
    def _step(self) -> float:
        width = 2.0 * self._range if self.of == "logits" else self._range
        return width / self._steps


def _rounded(values: Float[np.ndarray, "samples classes"]) -> Integer[np.ndarray, "samples classes"]:
    whole: Integer[np.ndarray, "samples classes"] = np.rint(values).astype(np.int64)
    return whole


def _apportion(
    probabilities: Float[np.ndarray, "samples classes"], steps: int
) -> Integer[np.ndarray, "samples classes"]:
    """Whole numbers that sum to ``steps`` in each row, closest to ``steps``·``probabilities`` (Hamilton's method)."""
    quotas = probabilities * steps
    floors = np.floor(quotas)
    missing = steps - floors.sum(axis=1, keepdims=True)
    rank = np.argsort(np.argsort(floors - quotas, axis=1, kind="stable"), axis=1, kind="stable")
    return _rounded(floors + (rank < missing))
