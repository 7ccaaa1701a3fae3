"""What a learner of several tasks has kept of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rates = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Retention:
    """R[i, j], the share of task j's test samples [tasks, tasks] that are right after task i, and what it says.

    ``accuracy`` is among all classes seen until then, so that a task is 0 before any of its classes was; ``within`` is
    among the task's own classes, as if somebody had said which task it is; ``untrained`` [tasks] is ``within`` before
    the first task.
    """

    accuracy: Rates
    within: Rates
    untrained: Rates

    @property
    def average(self) -> float:
        """Mean of R[T, j] over the tasks, after the last one (Lopez-Paz & Ranzato 2017, arXiv 1706.08840, Eq. 2)."""
        return float(self.accuracy[-1].mean())

    @property
    def learned(self) -> float:
        """Mean of R[j, j] over all tasks but the first: how well a new task is learned, just after it."""
        return float(self.accuracy.diagonal()[1:].mean())

    @property
    def forgetting(self) -> Rates:
        """max R[i, j] over i < T, minus R[T, j], of every task but the last (Chaudhry et al. 2018, arXiv 1801.10112).

        From −1 (better than ever) to 1 (all is lost).
        """
        lost: Rates = self.accuracy[:-1].max(axis=0) - self.accuracy[-1]
        return lost[:-1]

    @property
    def backward_transfer(self) -> Rates:
        """R[T, j] − R[j, j] of every task but the last: what later tasks did to it (arXiv 1706.08840, Eq. 3)."""
        gained: Rates = self.accuracy[-1] - self.accuracy.diagonal()
        return gained[:-1]

    @property
    def forward_transfer(self) -> Rates:
        """R[j−1, j] − untrained of every task but the first: what earlier tasks did for it (1706.08840, Eq. 4).

        Among the task's own classes; where these are new, only what is below the last layer can have been learned.
        """
        gained: Rates = self.within.diagonal(offset=1) - self.untrained[1:]
        return gained

    def content(self) -> dict[str, Any]:
        """All of it for JSON; by task, null where a measure is not of that task."""
        return {
            "average_accuracy": self.average,
            "accuracy_on_new_task": self.learned,
            "average_forgetting": float(self.forgetting.mean()),
            "average_backward_transfer": float(self.backward_transfer.mean()),
            "average_forward_transfer": float(self.forward_transfer.mean()),
            "accuracy": self.accuracy.tolist(),
            "accuracy_within_task": self.within.tolist(),
            "untrained_within_task": self.untrained.tolist(),
            "forgetting": [*self.forgetting.tolist(), None],
            "backward_transfer": [*self.backward_transfer.tolist(), None],
            "forward_transfer": [None, *self.forward_transfer.tolist()],
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Retention":
        """From what ``content`` returned."""
        return cls(*(np.array(content[key]) for key in ("accuracy", "accuracy_within_task", "untrained_within_task")))
