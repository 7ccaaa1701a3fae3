"""What goes into an aggregation strategy, and what comes out."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class ReportStack:
    """What an aggregator gets: the round's reports, sorted by client id.

    ``examples`` are the clients' numbers of training samples, all 1 where a privacy mechanism keeps them from telling;
    ``mask`` is True where a client votes (None: everywhere); ``labels`` are ``UNKNOWN_LABEL`` (−1) where the server
    does not know the class; ``generator`` is the round's own source of randomness for aggregators that draw, ``noise``
    that of aggregators whose noise proves something (``fedkd.privacy.private.Private``), of this attempt alone;
    ``label_counts`` are the clients' private samples per class, for the aggregators that need them (else None).
    """

    logits: Float[Tensor, "clients samples classes"]
    examples: Int[Tensor, " clients"]
    labels: Int[Tensor, " samples"]
    clients: tuple[int, ...]
    round: int = 1
    mask: Bool[Tensor, "clients samples"] | None = None
    generator: torch.Generator | None = None
    label_counts: Int[Tensor, "clients classes"] | None = None
    noise: np.random.Generator | None = None

    @property
    def probabilities(self) -> Float[Tensor, "clients samples classes"]:
        """Each client's softmax of its logits."""
        return self.logits.softmax(dim=-1)

    @property
    def votes(self) -> Float[Tensor, "clients samples"]:
        """1 where a client votes on a sample, 0 where it abstains; all 1 on samples on which everybody abstains."""
        if self.mask is None:
            return torch.ones(self.logits.shape[:2], dtype=self.logits.dtype)
        present = self.mask.to(self.logits.dtype)
        return torch.where(present.sum(dim=0) > 0, present, torch.ones_like(present))


@dataclass(frozen=True)
class ReportSum:
    """What an aggregator gets under secure aggregation: the sum of ``count`` clients' summands, and no client's own.

    The summand is what the aggregator has each client make of its logits; ``labels``, ``round``, ``generator`` and
    ``noise`` are as in ``ReportStack``.
    """

    total: Float[Tensor, "samples classes"]
    count: int
    labels: Int[Tensor, " samples"]
    round: int = 1
    generator: torch.Generator | None = None
    noise: np.random.Generator | None = None

    @property
    def mean(self) -> Float[Tensor, "samples classes"]:
        """The summands' mean, in float64."""
        return self.total.double() / self.count


@dataclass(frozen=True)
class Teacher:
    """An ensemble teacher: one target distribution per public sample.

    ``log_probabilities`` are normalised per sample; ``sample_weight`` (≥ 0) scales each sample's distillation loss;
    ``client_weight`` is for reporting only. ``client_log_probabilities`` are targets of each client's own, in the order
    of the stack; None where all get the same.
    """

    log_probabilities: Float[Tensor, "samples classes"]
    sample_weight: Float[Tensor, " samples"]
    client_weight: Float[Tensor, " clients"] | None = None
    client_log_probabilities: Float[Tensor, "clients samples classes"] | None = None

    @classmethod
    def from_probabilities(
        cls,
        probabilities: Float[Tensor, "samples classes"],
        *,
        sample_weight: Float[Tensor, " samples"] | None = None,
        client_weight: Float[Tensor, " clients"] | None = None,
    ) -> "Teacher":
        """A teacher from non-negative scores per class, normalised per sample; zeros become the smallest float."""
        tiny = torch.finfo(probabilities.dtype).tiny
        floored = probabilities.clamp_min(tiny)
        return cls.from_logits(floored.log(), sample_weight=sample_weight, client_weight=client_weight)

    @classmethod
    def from_logits(
        cls,
        logits: Float[Tensor, "samples classes"],
        *,
        sample_weight: Float[Tensor, " samples"] | None = None,
        client_weight: Float[Tensor, " clients"] | None = None,
    ) -> "Teacher":
        """A teacher from unnormalised log-probabilities."""
        weight = torch.ones(logits.shape[0], dtype=logits.dtype) if sample_weight is None else sample_weight
        return cls(logits.log_softmax(dim=-1), weight, client_weight)

    @property
    def probabilities(self) -> Float[Tensor, "samples classes"]:
        return self.log_probabilities.exp()
