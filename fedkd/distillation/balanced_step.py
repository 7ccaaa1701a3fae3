"""One optimiser step of distillation: two gradients, their geometry, λ, and the combined descent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypedDict

import torch
from torch import Tensor, nn

from fedkd.core.optimisers import Optimiser
from fedkd.distillation.balancer import LambdaBalancer
from fedkd.distillation.geometry import GradientGeometry

GeometryMode = Literal["exact", "last_layer", "logits"]


@dataclass(frozen=True)
class StepRow:
    """One row of ``distillation.csv``; None where not measured.

    Decreases are loss before minus loss after. The predicted ones are of first order, −∇L·Δθ with the update Δθ that
    the optimiser really made: for plain SGD that is η·q(λ) (importance analysis, Eqs. 7–14); under momentum, Adam,
    weight decay and clipping it says what this update does to the loss, only a part of it due to this step's gradient.
    The last two are by class, as ``fedkd.distillation.by_class.ByClass`` has them.
    """

    round: int
    step: int
    lam: float
    loss_dist: float
    loss_cls: float
    norm_dist: float | None
    norm_cls: float | None
    cos: float | None
    predicted_decrease: float
    measured_decrease: float | None = None
    predicted_decrease_dist: float | None = None
    predicted_decrease_cls: float | None = None
    measured_decrease_dist: float | None = None
    measured_decrease_cls: float | None = None
    learning_rate: float = 0.0
    temperature: float = 1.0
    cos_by_class: tuple[float, ...] | None = None
    gap_by_class: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Losses:
    """The two losses of a step with their graphs; ``cls`` is None without labels.

    ``logits_dist`` and ``logits_cls`` are the student's outputs under each loss: the same tensor for a mixed batch.
    """

    dist: Tensor
    cls: Tensor | None
    logits_dist: Tensor
    logits_cls: Tensor | None


class ValidationMeasurements(TypedDict, total=False):
    """Optional fields of a geometry, measured on validation samples."""

    validation_slope: float
    teacher_error: float
    student_error: float
    validation_samples: int


@dataclass
class BalancedStep:
    """Turns two losses into one step along λ·∇L_dist + (1−λ)·∇L_cls, with at most two backward passes.

    Every ``every`` steps the geometry is measured and the balancer asked; in between λ stays and one backward pass is
    enough. ``mode`` says where the geometry is measured: ``exact``, over all parameters, from the two gradients that
    are then combined; ``last_layer``, over the parameters of the last layer; ``logits``, over the student's outputs,
    where the cosine is 0 unless both losses see the same batch. The last two need one full backward pass. ``clip_norm``
    bounds the norm of the combined gradient. λ and the geometry are of the gradients before clipping, momentum, weight
    decay or Adam's scaling, which act on the combination.
    """

    parameters: Sequence[nn.Parameter]
    optimiser: Optimiser
    balancer: LambdaBalancer
    mode: GeometryMode = "exact"
    every: int = 1
    clip_norm: float | None = None
    last_layer: Sequence[nn.Parameter] = ()
    _lam: float | None = field(default=None, init=False)

    def begin_round(self) -> None:
        """Ask the balancer anew at the next step."""
        self._lam = None

    def step(
        self,
        losses: Losses,
        *,
        round: int,
        step: int,
        steps: int,
        temperature: float,
        annotate: Callable[[Sequence[Tensor], Sequence[Tensor]], ValidationMeasurements] | None = None,
        again: Callable[[], tuple[float, float]] | None = None,
    ) -> StepRow:
        """Make the step and describe it.

        ``annotate`` adds validation measurements to the geometry, given both gradients (empty when they are not known
        over all parameters); ``again`` evaluates both losses on the same batch after the step, for the measured
        decrease. Without a task loss λ is 1.
        """
        loss_dist = losses.dist.item()
        loss_cls = 0.0 if losses.cls is None else losses.cls.item()
        dist: list[Tensor] = []
        task: list[Tensor] = []
        seen: tuple[float, float, float] | None = None
        if losses.cls is None:
            lam = 1.0
            dist = gradients(losses.dist, self.parameters)
            seen = (dot(dist, dist), 0.0, 0.0)
        elif self._lam is None or step % self.every == 0:
            if self.mode == "exact":
                dist = gradients(losses.dist, self.parameters, keep=losses.logits_dist is losses.logits_cls)
                task = gradients(losses.cls, self.parameters)
                seen = (dot(dist, dist), dot(dist, task), dot(task, task))
            else:
                seen = self._partial_geometry(losses)
            geometry = GradientGeometry(*seen, loss_dist=loss_dist, loss_cls=loss_cls, step=step, steps=steps)
            if annotate is not None:
                geometry = replace(geometry, **annotate(dist, task))
            lam = self._lam = self.balancer.update(geometry)
        else:
            lam = self._lam
        combined = self._combine(losses, dist, task, lam)
        before = [parameter.detach().clone() for parameter in self.parameters]
        self._apply(combined)
        moved = torch._foreach_sub([parameter.detach() for parameter in self.parameters], before)
        fall_dist = -dot(dist, moved) if dist else None
        fall_cls = -dot(task, moved) if task else None
        row = StepRow(
            round=round,
            step=step,
            lam=lam,
            loss_dist=loss_dist,
            loss_cls=loss_cls,
            norm_dist=None if seen is None else seen[0] ** 0.5,
            norm_cls=None if seen is None else seen[2] ** 0.5,
            cos=None if seen is None else GradientGeometry(*seen, loss_dist, loss_cls, step).cosine,
            # Linear in the two gradients, whose products with the update are known unless only one pass was made.
            predicted_decrease=(
                -dot(combined, moved)
                if fall_dist is None or fall_cls is None
                else lam * fall_dist + (1.0 - lam) * fall_cls
            ),
            predicted_decrease_dist=fall_dist,
            predicted_decrease_cls=fall_cls,
            learning_rate=self.optimiser.learning_rate,
            temperature=temperature,
        )
        if again is None:
            return row
        after_dist, after_cls = again()
        fell_dist, fell_cls = loss_dist - after_dist, loss_cls - after_cls
        return replace(
            row,
            measured_decrease=lam * fell_dist + (1.0 - lam) * fell_cls,
            measured_decrease_dist=fell_dist,
            measured_decrease_cls=None if losses.cls is None else fell_cls,
        )

    def _combine(self, losses: Losses, dist: Sequence[Tensor], task: Sequence[Tensor], lam: float) -> list[Tensor]:
        if task:
            return list(torch._foreach_lerp(list(task), list(dist), lam))
        if losses.cls is None:
            return list(dist)
        return gradients(lam * losses.dist + (1.0 - lam) * losses.cls, self.parameters)

    def _apply(self, combined: Sequence[Tensor]) -> None:
        for parameter, gradient in zip(self.parameters, combined, strict=True):
            parameter.grad = gradient.clone() if self.clip_norm is not None else gradient
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimiser.step()

    def _partial_geometry(self, losses: Losses) -> tuple[float, float, float]:
        """a, b, c over the last layer or the logits, leaving both graphs alive for the full backward pass."""
        if losses.cls is None or losses.logits_cls is None:
            raise ValueError("a geometry needs both losses")
        if self.mode == "last_layer":
            dist = gradients(losses.dist, self.last_layer, keep=True)
            task = gradients(losses.cls, self.last_layer, keep=True)
            return dot(dist, dist), dot(dist, task), dot(task, task)
        dist = gradients(losses.dist, [losses.logits_dist], keep=True)
        task = gradients(losses.cls, [losses.logits_cls], keep=True)
        shared = losses.logits_dist is losses.logits_cls
        return dot(dist, dist), dot(dist, task) if shared else 0.0, dot(task, task)


def gradients(loss: Tensor, inputs: Sequence[Tensor], *, keep: bool = False) -> list[Tensor]:
    """∇loss by ``inputs``, zeros for those it does not reach; frees the graph unless told to ``keep`` it."""
    found = torch.autograd.grad(loss, list(inputs), retain_graph=keep, allow_unused=True)
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(inputs, found, strict=True)
    ]


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """The inner product over all tensors; products in their own precision, the sum over tensors in float64."""
    parts = [torch.dot(one.reshape(-1), other.reshape(-1)) for one, other in zip(left, right, strict=True)]
    return float(torch.stack(parts).double().sum())


def last_layer(student: nn.Module) -> list[nn.Parameter]:
    """The parameters of the last module that has trainable ones of its own."""
    own = [list(module.parameters(recurse=False)) for module in student.modules()]
    trainable = [[parameter for parameter in found if parameter.requires_grad] for found in own]
    return next((found for found in reversed(trainable) if found), [])
