"""The memory that coding by differences needs on both ends."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from fedkd.core.coding.types import Codes, Previous


class CodeHistory:
    """The codes last sent by one sender, by position in a public set of ``samples`` samples.

    Sender and receiver keep one each and update it with the codes of every message that was accepted, so that both
    always hold the same; a message that one end has taken up and the other has not is noticed at the next, which
    cannot be decoded. Takes ``samples`` × columns × (1, 2 or 4) bytes from the first update on.
    """

    def __init__(self, samples: int) -> None:
        if samples < 0:
            raise ValueError(f"samples must be at least 0, the size of the public set; got {samples}")
        self._samples = samples
        self._codes: Codes | None = None
        self._known = np.zeros(samples, np.bool_)

    def previous(self, positions: Int[Tensor, " chosen"]) -> Previous | None:
        """The codes last sent for the samples at ``positions``, in that order; None when there are none at all.

        Raises ``ValueError`` for positions outside the public set or named twice.
        """
        chosen = self._chosen(positions)
        if self._codes is None or not self._known[chosen].any():
            return None
        return Previous(self._codes[chosen], self._known[chosen])

    def update(
        self, positions: Int[Tensor, " chosen"], codes: Codes, mask: Bool[Tensor, " chosen"] | None = None
    ) -> None:
        """Remember the codes of a message about ``positions``; those where ``mask`` is False were not sent.

        Raises ``ValueError`` for positions outside the public set or named twice, and for codes that do not fit them
        or those of earlier messages.
        """
        chosen = self._chosen(positions)
        if codes.ndim != 2 or len(codes) != chosen.size:
            raise ValueError(f"codes must have one row per position, {chosen.size}; got shape {codes.shape}")
        if self._codes is None:
            self._codes = np.zeros((self._samples, codes.shape[1]), codes.dtype)
        if (codes.shape[1], codes.dtype) != (self._codes.shape[1], self._codes.dtype):
            raise ValueError(
                f"codes must have {self._codes.shape[1]} columns of {self._codes.dtype} like the earlier ones, "
                f"got {codes.shape[1]} of {codes.dtype}; keep to one codec"
            )
        sent = np.ones(chosen.size, np.bool_) if mask is None else mask.cpu().numpy()
        if sent.shape != chosen.shape:
            raise ValueError(f"mask must be one per position, [{chosen.size}]; got {sent.shape}")
        self._codes[chosen[sent]] = codes[sent]
        self._known[chosen[sent]] = True

    def of(
        self, positions: Int[Tensor, " chosen"], codes: Codes, mask: Bool[Tensor, " chosen"] | None = None
    ) -> "CodeHistory":
        """The codes of one message alone: what lies further back, one of the two ends may have missed.

        Raises ``ValueError`` as ``update`` does.
        """
        history = CodeHistory(self._samples)
        history.update(positions, codes, mask)
        return history

    def state_dict(self) -> dict[str, Tensor]:
        """The codes ``[samples, columns]`` and where they are known ``[samples]``; empty before the first update."""
        if self._codes is None:
            return {}
        return {"codes": torch.from_numpy(self._codes.copy()), "known": torch.from_numpy(self._known.copy())}

    def load_state_dict(self, state: Mapping[str, Shaped[Tensor, "..."]]) -> None:
        """Take up what ``state_dict`` returned; raises ``ValueError`` for that of a public set of another size."""
        if not state:
            self._codes, self._known = None, np.zeros(self._samples, np.bool_)
            return
        codes, known = state["codes"].cpu().numpy(), state["known"].cpu().numpy()
        if len(codes) != self._samples or known.shape != (self._samples,):
            raise ValueError(f"the state is of {len(codes)} public samples, this history of {self._samples}")
        self._codes, self._known = codes.copy(), known.copy()

    def _chosen(self, positions: Int[Tensor, " chosen"]) -> Int[np.ndarray, " chosen"]:
        chosen = positions.cpu().numpy()
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self._samples):
            raise ValueError(f"positions must lie in [0, {self._samples - 1}], got {chosen.min()} to {chosen.max()}")
        if np.unique(chosen).size != chosen.size:
            raise ValueError("positions must be distinct; name each public sample once a message")
        return chosen
