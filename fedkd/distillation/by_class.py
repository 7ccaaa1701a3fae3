"""How the two losses get on with one another class by class: for whoever looks into one, and for no policy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from fedkd.core.compute import laid_out_for, to_device
from fedkd.distillation.balanced_step import gradients, products
from fedkd.distillation.divergence import Temperatures, at, classification_loss, column

MOST = 64
"""Samples of a class that are looked at, of each kind; the first ones there are."""

LossOn = Callable[[Tensor, Tensor, Tensor, Temperatures], Tensor]
"""L_dist of samples: where they are, their inputs, the teacher's log-probabilities, and the temperature."""


@dataclass(frozen=True)
class ByClass:
    """Per class, NaN where it has no sample of a kind that is needed.

    ``cosine``: of ∇L_dist on public samples that the teacher puts into the class, and ∇L_cls on labelled samples of the
    class, over all parameters: the stiffness of Fort et al. 2019 (arXiv 1901.09491, Eq. 4) between the two losses.
    ``gap``: the mean of p_student − p_teacher for the class over the public samples looked at, at the temperature of
    the step, which is the gradient of T²·KL(teacher ‖ student) by the class's logit, over T (Hinton et al. 2015, arXiv
    1503.02531, Eq. 2).
    """

    cosine: tuple[float, ...]
    gap: tuple[float, ...]


class ClassMeter:
    """Measures a student against one teacher, on the same samples at every call; the student's mode is put back."""

    def __init__(
        self,
        student: nn.Module,
        inputs: Shaped[Tensor, "samples ..."],
        teacher: Float[Tensor, "samples classes"],
        labels: Int[Tensor, " samples"],
        public: Int[Tensor, " public"],
        *,
        loss: LossOn,
    ) -> None:
        """``teacher`` holds log-probabilities; ``labels`` are −1 where unknown; ``public`` are the usable samples."""
        self._student, self._inputs, self._teacher, self._labels, self._loss = student, inputs, teacher, labels, loss
        self._public = public
        self._parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]

    # Samples are sorted out when something is measured for the first time, which in most runs nothing is.
    @cached_property
    def _taught(self) -> list[Tensor]:
        return self._of_each_class(self._teacher.argmax(dim=-1).to(self._labels.device))

    @cached_property
    def _labelled(self) -> list[Tensor]:
        return self._of_each_class(self._labels)

    def _of_each_class(self, named: Tensor) -> list[Tensor]:
        return [self._public[named[self._public] == each][:MOST] for each in range(self._teacher.shape[1])]

    def measure(self, temperature: Temperatures) -> ByClass:
        """The student as it is now; temperatures are those of all samples, public or not."""
        training = self._student.training
        self._student.eval()
        try:
            cosines = tuple(
                self._cosine(taught, labelled, temperature)
                for taught, labelled in zip(self._taught, self._labelled, strict=True)
            )
            with torch.no_grad():
                gap = self._gap(torch.cat(self._taught), temperature)
        finally:
            self._student.train(training)
        return ByClass(cosines, gap)

    def _cosine(self, taught: Tensor, labelled: Tensor, temperature: Temperatures) -> float:
        if not taught.numel() or not labelled.numel():
            return math.nan
        value = self._loss(taught, self._inputs[taught], self._teacher[taught], at(temperature, taught))
        dist = gradients(value, self._parameters)
        logits = self._logits(labelled)
        task = gradients(classification_loss(logits, self._labels[labelled].to(logits.device)), self._parameters)
        a, b, c = products((dist, dist), (dist, task), (task, task))
        scale = (a * c) ** 0.5
        return max(-1.0, min(1.0, b / scale)) if scale > 0 else math.nan

    def _gap(self, taught: Tensor, temperature: Temperatures) -> tuple[float, ...]:
        divisor = column(at(temperature, taught))
        student = (self._logits(taught) / divisor).softmax(dim=-1)
        teacher = (self._teacher[taught] / divisor).softmax(dim=-1)
        return tuple((student - teacher).double().mean(dim=0).tolist())

    def _logits(self, chosen: Tensor) -> Tensor:
        device = self._parameters[0].device
        logits: Tensor = self._student(laid_out_for(self._student, to_device(self._inputs[chosen], device)))
        return logits
