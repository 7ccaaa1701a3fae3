"""What the server keeps of earlier targets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from fedkd.aggregation.types import Teacher

NEVER = -(2**31)


@dataclass(frozen=True)
class Targets:
    """A teacher on the public samples at ``positions``."""

    positions: Int[Tensor, " samples"]
    teacher: Teacher


class TargetCache:
    """The last target of every public sample that was ever asked about.

    ``fresh`` tells which samples need not be asked about again, for ``rounds`` rounds (SCARLET's soft-label cache).
    ``merge`` stores new targets, and gives back those of the samples it is asked for: new ones, and old ones where
    there is no new one. With ``memory`` β > 0 a target is an average over rounds, ln q ← (β·ln q + (1 − β)·ln p) up to
    normalisation, weighted so that the first rounds count no more than later ones (Laine and Aila 2017, arXiv
    1610.02242, Alg. 2, there of one network's predictions), and ``merge`` gives back all that are known.
    """

    def __init__(self, rounds: int, samples: int, memory: float = 0.0) -> None:
        self._rounds = rounds
        self._memory = memory
        self._stored = torch.full((samples,), NEVER, dtype=torch.long)
        self._targets: Tensor | None = None
        self._weights = torch.zeros(samples)
        self._mass = torch.zeros(samples)

    def fresh(self, round: int, positions: Int[Tensor, " chosen"]) -> Bool[Tensor, " chosen"]:
        """Whose target is not older than ``rounds`` rounds."""
        return self._stored[positions] >= round - self._rounds if self._rounds > 0 else positions < 0

    def merge(
        self, round: int, teacher: Teacher | None, asked: Int[Tensor, " asked"], chosen: Int[Tensor, " chosen"]
    ) -> Targets:
        """Take up the teacher on ``asked``; the targets on ``chosen``, or on all that are known if there is a memory.

        ``teacher`` is None when nothing was asked. Raises ``ValueError`` when nothing ever was.
        """
        if self._rounds == 0 and self._memory == 0 and teacher is not None:
            return Targets(chosen, teacher)
        if teacher is not None:
            self._take(round, teacher, asked)
        if self._targets is None:
            raise ValueError("there are no targets yet, and none were asked for")
        known = chosen if self._memory == 0 else (self._stored != NEVER).nonzero().flatten()
        averages = self._targets[known] / self._mass[known].unsqueeze(1)
        return Targets(known, Teacher(averages.log_softmax(dim=-1), self._weights[known]))

    def _take(self, round: int, teacher: Teacher, asked: Tensor) -> None:
        if self._targets is None:
            self._targets = torch.zeros(self._stored.numel(), teacher.log_probabilities.shape[1])
        keep = self._memory
        self._targets[asked] = keep * self._targets[asked] + (1 - keep) * teacher.log_probabilities
        self._mass[asked] = keep * self._mass[asked] + (1 - keep)
        self._weights[asked] = teacher.sample_weight
        self._stored[asked] = round

    def state_dict(self) -> dict[str, Any]:
        return {
            "stored": self._stored.clone(),
            "targets": None if self._targets is None else self._targets.clone(),
            "weights": self._weights.clone(),
            "mass": self._mass.clone(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` returned; raises ``ValueError`` for that of another public set."""
        samples, targets = self._stored.shape, state["targets"]
        shapes = [state[name].shape for name in ("stored", "weights", "mass")]
        if shapes != [samples] * 3 or (targets is not None and targets.shape[:1] != samples):
            raise ValueError(f"the state is of other public samples than these {samples[0]}")
        self._stored, self._targets = state["stored"].clone(), None if targets is None else targets.clone()
        self._weights, self._mass = state["weights"].clone(), state["mass"].clone()
