"""The types that travel between the parts of fedkd."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Arrays = dict[str, npt.NDArray[Any]]
"""Named NumPy arrays: a model's state, or what a client sends."""

EVALUATION = "evaluation"
"""First part of the names of what a simulated client hands over for evaluation, which no algorithm sees."""

UNKNOWN_LABEL = -1
"""The label of a public sample whose class the server does not know."""


@dataclass(frozen=True)
class Traffic:
    """Bytes of one client in one round and direction: what is serialised for it, without envelopes."""

    logits: int = 0
    parameters: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.logits + self.parameters + self.other

    def __add__(self, more: "Traffic") -> "Traffic":
        return Traffic(self.logits + more.logits, self.parameters + more.parameters, self.other + more.other)


@dataclass(frozen=True)
class ClientReport:
    """What one client sends in one round, after validation.

    ``logits`` are float32 and finite, one row per public sample it was asked about (none where the algorithm exchanges
    something else); ``mask`` is False where the client abstains (None: nowhere); ``examples`` is the number of private
    training samples; ``arrays`` is what else it sent, by name; ``sent`` the bytes of all that; ``codes`` what
    stands for the logits in the message.
    """

    client: int
    round: int
    logits: Float[Tensor, "samples classes"]
    examples: int
    sent: Traffic = Traffic()
    mask: Bool[Tensor, " samples"] | None = None
    arrays: Arrays = field(default_factory=dict)
    codes: npt.NDArray[np.unsignedinteger[Any]] | None = None


@dataclass(frozen=True)
class Consensus:
    """Targets on public samples, as clients are sent them.

    ``positions`` are those of the samples in the public set; ``mask`` is False where there is no target. ``personal``
    holds targets of single clients, which replace the common ones for them.
    """

    positions: Int[Tensor, " samples"]
    log_probabilities: Float[Tensor, "samples classes"]
    mask: Bool[Tensor, " samples"]
    personal: Mapping[int, Float[Tensor, "samples classes"]] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportStack:
    """What an aggregator gets: the round's reports, sorted by client id.

    ``mask`` is True where a client votes (None: everywhere); ``labels`` are ``UNKNOWN_LABEL`` (−1) where the server
    does not know the class; ``generator`` is the round's own source of randomness for aggregators that draw;
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

    The summand is what the aggregator has each client make of its logits; ``labels``, ``round`` and ``generator`` are
    as in ``ReportStack``.
    """

    total: Float[Tensor, "samples classes"]
    count: int
    labels: Int[Tensor, " samples"]
    round: int = 1
    generator: torch.Generator | None = None

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


@dataclass(frozen=True)
class GradientGeometry:
    """The two gradients of one distillation step, seen through their Gram matrix.

    a = ‖∇L_dist‖², b = ∇L_dist·∇L_cls, c = ‖∇L_cls‖² (importance analysis, Eqs. 10–14). ``step`` counts from 0 within
    the round, which has ``steps`` steps (0: not known).

    The last three come from the server's validation samples, for policies that ask for them, and are None on steps on
    which they were not measured: ``validation_slope`` is ∇L_val·(∇L_dist − ∇L_cls), ``teacher_error`` and
    ``student_error`` are the Laplace-smoothed shares of wrong answers, (wrong + 1)/(samples + 2).
    """

    a: float
    b: float
    c: float
    loss_dist: float
    loss_cls: float
    step: int
    steps: int = 0
    validation_slope: float | None = None
    teacher_error: float | None = None
    student_error: float | None = None

    @property
    def progress(self) -> float:
        """How far the round is, from 0 at its first step to 1 at its last; 0 when its length is not given."""
        return min(self.step / (self.steps - 1), 1.0) if self.steps > 1 else 0.0

    @property
    def cosine(self) -> float:
        """cos φ = b/√(ac), in [−1, 1]; 0 when either gradient vanishes."""
        scale = (self.a * self.c) ** 0.5
        return max(-1.0, min(1.0, self.b / scale)) if scale > 0 else 0.0

    def decrease(self, weight: float) -> float:
        """q(λ) = λ²a + 2λ(1−λ)b + (1−λ)²c: the first-order loss decrease of an SGD step, per unit of learning rate."""
        rest = 1.0 - weight
        return weight * weight * self.a + 2.0 * weight * rest * self.b + rest * rest * self.c


@dataclass(frozen=True)
class Job:
    """One piece of work that every addressed client does.

    ``kind`` is ``round`` (a round of the algorithm), ``local`` (train alone for all rounds, answer with test accuracy)
    or a step of a round's secure sum (``fedkd.local.securing``). ``config`` is the resolved configuration as JSON;
    ``parameters`` is what all clients are sent, ``personal`` what single clients are sent besides; ``probe`` also asks
    for logits on the test images, for evaluation only. ``state_dir`` is where clients keep what they need between
    rounds (None: nowhere); ``accepted`` is the last round of which each client's report was accepted (absent: none), at
    whose end it goes on.
    """

    kind: str
    round: int
    config: str
    parameters: Arrays = field(default_factory=dict)
    personal: Mapping[int, Arrays] = field(default_factory=dict)
    probe: bool = False
    state_dir: str | None = None
    accepted: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """A client's answer to a ``Job``: arrays and numbers, or the reason why there are none."""

    client: int
    arrays: Arrays = field(default_factory=dict)
    metrics: Mapping[str, float | int | str] = field(default_factory=dict)
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


def state_arrays(state: Mapping[str, Tensor]) -> Arrays:
    """A model's state as NumPy arrays on the CPU."""
    return {name: np.array(tensor.detach().cpu().numpy()) for name, tensor in state.items()}
