"""The base class of every student rule."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fedkd.aggregation.strategy import LogitAggregator
from fedkd.aggregation.types import ReportSum
from fedkd.core.array_specs import plain_arrays
from fedkd.core.messages import Arrays, ClientReport, Consensus
from fedkd.core.returned import returned
from fedkd.distillation.distiller import DistillationResult
from fedkd.experiment import Experiment
from fedkd.server.target_cache import Targets

Progress = Callable[[int, int], None]


def _ignore(done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class RoundReports:
    """What a round brought in.

    ``reports`` are the valid ones, sorted by client id; their logits are on the public samples at ``asked``, which are
    among ``chosen``, the samples of this round. With ``probe`` the simulator wants the teacher measured on the test
    inputs as well. Then ``tests`` holds logits and mask there of clients that measured them, and ``test_features`` the
    embeddings: for evaluation, and for nothing else. Under secure aggregation there are no reports, but ``summed``,
    their sum on ``asked``.
    """

    round: int
    reports: Sequence[ClientReport]
    chosen: Int[Tensor, " chosen"]
    asked: Int[Tensor, " asked"]
    tests: Mapping[int, ClientReport] = field(default_factory=dict)
    test_features: Mapping[int, Float[Tensor, "tests dims"]] = field(default_factory=dict)
    progress: Progress = _ignore
    probe: bool = False
    summed: ReportSum | None = None


@dataclass(frozen=True)
class ServerUpdate:
    """What the server made of a round.

    ``targets`` are the teacher on public samples; ``consensus`` is what clients are sent of it; ``distilled`` tells of
    the student's training on it. ``ensemble_accuracy`` is the teacher's on the test samples, where it was measured, and
    ``student_accuracy`` that of a server's model that takes no inputs.
    """

    targets: Targets | None = None
    consensus: Consensus | None = None
    distilled: DistillationResult | None = None
    ensemble_accuracy: float | None = None
    student_accuracy: float | None = None


class StudentRule(ABC):
    """What the server does in a round of an algorithm; the client rule is the clients' part.

    ``needs`` names what the clients have to send (``logits``, ``parameters``, or the name of an array), ``offers`` what
    clients may receive (``parameters``, ``consensus``, or the name of an array). The rule's dataclass fields are its
    options; what it works with is made in ``begin``.
    """

    needs: ClassVar[str] = "logits"
    offers: ClassVar[frozenset[str]] = frozenset()
    teaches: ClassVar[bool] = True
    """Whether the rule uses the configured teacher."""
    learns_from_sums: ClassVar[bool] = False
    """Whether ``RoundReports.summed`` is enough for it."""
    needs_examples: ClassVar[bool] = False
    """Whether clients have to say how many private samples they have, even where these are at home."""
    takes_parts: ClassVar[bool] = False
    """Whether the parameters that clients send may lack what they keep to themselves (``clients.keep_batch_norm``)."""
    averages_architectures: ClassVar[bool] = False
    """Whether it offers parameters for clients with architectures other than the student's."""

    @property
    def needs_labels(self) -> bool:
        """Whether it trains on labelled public samples before the first round."""
        return False

    @abstractmethod
    def begin(self, experiment: Experiment) -> None:
        """Get ready for the first round."""

    @abstractmethod
    def update(self, received: RoundReports) -> ServerUpdate:
        """Take in a round's reports, and say what came of them."""

    @property
    def student(self) -> nn.Module | None:
        """The server's model; None for an algorithm without one."""
        return None

    @property
    def strategy(self) -> LogitAggregator | None:
        """What makes its teacher; None for a rule without one."""
        return None

    def to_ask(self, round: int, chosen: Int[Tensor, " chosen"]) -> Bool[Tensor, " chosen"]:
        """Which of a round's public samples the clients have to answer on."""
        return torch.ones(chosen.numel(), dtype=torch.bool)

    def broadcast(self) -> Arrays:
        """What every client is sent at a round's start, besides the consensus."""
        return {}

    def personal(self, client: int) -> Arrays:
        """What one client alone is sent at a round's start."""
        return {}

    def fault(self, report: ClientReport) -> str | None:
        """Why the rule cannot use a report; None when it can."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything the next round depends on."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned."""


def update_of(rule: StudentRule, received: RoundReports) -> ServerUpdate:
    """What a rule makes of a round; raises ``ValueError`` where its ``update`` gives something else."""
    return returned(rule.update(received), ServerUpdate, rule, "update")


def sent_by(rule: StudentRule, client: int | None = None) -> Arrays:
    """What a rule sends every client, or one alone; raises ``ValueError`` for anything but arrays by name."""
    try:
        return plain_arrays(rule.broadcast() if client is None else rule.personal(client))
    except ValueError as error:
        method = "broadcast" if client is None else "personal"
        raise ValueError(f"{type(rule).__name__}.{method}: {error}; return {{name: tensor.numpy()}}") from error
