"""What balancing policies may know about the server's validation samples."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, cycle
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.func import jvp

from fedkd.core.compute import call_with, laid_out_for
from fedkd.distillation.balanced_step import ValidationMeasurements
from fedkd.models import predict

PART = 128
"""The most samples that a measurement looks at again."""


@dataclass(frozen=True)
class Validation:
    """The validation samples of a public set: where they are in it, and their labels. Never trained on."""

    mask: Bool[Tensor, " samples"]
    labels: Int[Tensor, " held_out"]

    @property
    def empty(self) -> bool:
        return self.labels.numel() == 0


def smoothed_error(scores: Float[Tensor, "held_out classes"], labels: Int[Tensor, " held_out"]) -> float:
    """(wrong + 1)/(samples + 2): Laplace's rule of succession, which keeps small samples away from 0 and 1."""
    return _smoothed(int((scores.argmax(dim=-1) != labels).sum()), labels.numel())


def _smoothed(wrong: int, samples: int) -> float:
    return (wrong + 1) / (samples + 2)


class StudentError:
    """The student's smoothed error during a round, measured again and again.

    The first measurement looks at all samples, later ones at ``PART`` of them at most, in turn, and take of the others
    what was seen last: the error changes slowly, and a pass over all samples costs as much as several steps.
    """

    def __init__(
        self, model: nn.Module, inputs: Shaped[Tensor, "held_out ..."], labels: Int[Tensor, " held_out"]
    ) -> None:
        self._model, self._inputs, self._labels = model, inputs, labels
        count = labels.numel()
        self._wrong = torch.zeros(count, dtype=torch.bool)
        everything = torch.arange(count)
        self._turns = chain([everything], cycle(everything.tensor_split(math.ceil(count / PART))))

    def measure(self) -> float:
        """One forward pass in evaluation mode over the samples whose turn it is."""
        turn = next(self._turns)
        self._wrong[turn] = predict(self._model, self._inputs[turn]).argmax(dim=-1) != self._labels[turn]
        return _smoothed(int(self._wrong.sum()), self._labels.numel())


Annotate = Callable[[Sequence[Tensor], Sequence[Tensor]], ValidationMeasurements]
"""From the two gradients (empty where they are not known over all parameters) to what is measured for a policy."""


def annotator(
    asks_for: Literal["nothing", "slope", "errors"],
    student: nn.Module,
    teacher: Float[Tensor, "samples classes"],
    inputs: Shaped[Tensor, "samples ..."],
    validation: Validation | None,
) -> Annotate | None:
    """What measures, on validation samples, that which a policy asks for; None when there is nothing to do."""
    if validation is None or validation.empty or asks_for == "nothing":
        return None
    held_out, labels = inputs[validation.mask], validation.labels
    if asks_for == "errors":
        teacher_error = smoothed_error(teacher[validation.mask], labels)
        measured = StudentError(student, held_out, labels)

        def errors(dist: Sequence[Tensor], task: Sequence[Tensor]) -> ValidationMeasurements:
            return {
                "teacher_error": teacher_error,
                "student_error": measured.measure(),
                "validation_samples": labels.numel(),
            }

        return errors
    names = [name for name, parameter in student.named_parameters() if parameter.requires_grad]

    def slope(dist: Sequence[Tensor], task: Sequence[Tensor]) -> ValidationMeasurements:
        if not dist or not task:
            return {}
        direction = dict(zip(names, torch._foreach_sub(list(dist), list(task)), strict=True))
        return {"validation_slope": validation_slope(student, held_out, labels, direction)}

    return slope


def validation_slope(
    model: nn.Module,
    inputs: Shaped[Tensor, "held_out ..."],
    labels: Int[Tensor, " held_out"],
    direction: dict[str, Tensor],
) -> float:
    """∇L_val·direction by one forward-mode pass, without a backward pass.

    With direction ∇L_dist − ∇L_cls this is minus the derivative, by λ, of the validation loss after one SGD step, per
    unit of learning rate (the hypergradient of one step).
    """
    device = next(model.parameters()).device
    state = {name: parameter.detach() for name, parameter in model.named_parameters() if name in direction}
    resident = laid_out_for(model, inputs.to(device))

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(call_with(model, parameters, resident), labels.to(device))

    training = model.training
    model.eval()
    try:
        with warnings.catch_warnings():
            # Forward mode loads torch's own scripted decompositions, of whose deprecation torch warns.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            slope = jvp(loss, (state,), (direction,))[1]
    finally:
        model.train(training)
    return float(slope)
