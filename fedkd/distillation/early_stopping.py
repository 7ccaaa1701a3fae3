"""Stopping a round of distillation where the student is best on the validation samples."""

import copy

from jaxtyping import Int, Shaped
from torch import Tensor, nn

from fedkd.distillation.validation import Validation
from fedkd.models import accuracy


class BestStudent:
    """Remembers the student at its best validation accuracy; the earlier one where two are equal."""

    def __init__(
        self,
        student: nn.Module,
        inputs: Shaped[Tensor, "held_out ..."],
        labels: Int[Tensor, " held_out"],
        patience: int,
    ) -> None:
        self._student = student
        self._images = inputs
        self._labels = labels
        self._patience = patience
        self._best = -1.0
        self._step = 0
        self._state = copy.deepcopy(student.state_dict())

    def given_up(self, step: int) -> bool:
        """Measure the student after ``step`` steps; True when ``patience`` steps have gone by without a gain."""
        found = accuracy(self._student, self._images, self._labels)
        if found > self._best:
            self._best, self._step, self._state = found, step, copy.deepcopy(self._student.state_dict())
        return step - self._step >= self._patience

    def restore(self) -> None:
        """Put the student back to where it was best."""
        self._student.load_state_dict(self._state)


def best_student(
    student: nn.Module, inputs: Tensor, validation: Validation | None, patience: int | None
) -> BestStudent | None:
    """Nothing without patience, or without validation samples."""
    if patience is None or validation is None or validation.empty:
        return None
    return BestStudent(student, inputs[validation.mask], validation.labels, patience)
