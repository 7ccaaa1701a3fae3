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

    Norms and cosine are there wherever the policy that sets λ looks at them. Decreases are loss before minus loss
    after. The predicted ones are of first order, −∇L·Δθ with the update Δθ that the optimiser really made: for plain
    SGD that is η·q(λ) (importance analysis, Eqs. 7–14); under momentum, Adam, weight decay and clipping it says what
    this update does to the loss, only a part of it due to this step's gradient. The last two are by class, as
    ``fedkd.distillation.by_class.ByClass`` has them.
    """

    round: int
    step: int
    lam: float
    loss_dist: float
    loss_cls: float
    norm_dist: float | None = None
    norm_cls: float | None = None
    cos: float | None = None
    predicted_decrease: float | None = None
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


class _Measured(TypedDict, total=False):
    """What of a row is measured at some steps only."""

    norm_dist: float
    norm_cls: float
    cos: float
    predicted_decrease: float
    predicted_decrease_dist: float
    predicted_decrease_cls: float
    measured_decrease: float
    measured_decrease_dist: float
    measured_decrease_cls: float


@dataclass
class BalancedStep:
    """Turns two losses into one step along λ·∇L_dist + (1−λ)·∇L_cls, with at most two backward passes.

    Every ``every`` steps the balancer is asked; in between λ stays and one backward pass is enough. ``mode`` says where
    the geometry is measured: ``exact``, over all parameters, from the two gradients that are then combined;
    ``last_layer``, over the parameters of the last layer; ``logits``, over the student's outputs, where the cosine is 0
    unless both losses see the same batch. The last two need one full backward pass. ``clip_norm`` bounds the norm of
    the combined gradient. λ and the geometry are of the gradients before clipping, momentum, weight decay or Adam's
    scaling, which act on the combination.
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
        measure: bool = True,
        again: Callable[[], tuple[float, float]] | None = None,
    ) -> StepRow:
        """Make the step and describe it.

        ``annotate`` adds validation measurements to the geometry, given both gradients (empty when they are not known
        over all parameters). With ``measure`` the row has the predicted decrease, and the gradients' geometry where λ
        is not kept; without, only what the balancer needs. ``again`` evaluates both losses on the same batch after the
        step, for the measured decrease, beside which the predicted one always stands. Without a task loss λ is 1.
        """
        measure = measure or again is not None
        loss_dist = losses.dist.item()
        loss_cls = 0.0 if losses.cls is None else losses.cls.item()
        dist: list[Tensor] = []
        task: list[Tensor] = []
        found: _Measured = {}
        if losses.cls is None:
            lam = 1.0
            dist = gradients(losses.dist, self.parameters)
            if measure:
                found = {"norm_dist": products((dist, dist))[0] ** 0.5, "norm_cls": 0.0, "cos": 0.0}
        elif self._lam is None or step % self.every == 0:
            if self.mode == "exact":
                dist = gradients(losses.dist, self.parameters, keep=losses.logits_dist is losses.logits_cls)
                task = gradients(losses.cls, self.parameters)
            seen = measure or self.balancer.uses_gradients
            gram = self._gram(losses, dist, task) if seen else (0.0, 0.0, 0.0)
            geometry = GradientGeometry(*gram, loss_dist=loss_dist, loss_cls=loss_cls, step=step, steps=steps)
            if seen:
                found = {"norm_dist": geometry.a**0.5, "norm_cls": geometry.c**0.5, "cos": geometry.cosine}
            if annotate is not None:
                geometry = replace(geometry, **annotate(dist, task))
            lam = self._lam = self.balancer.update(geometry)
        else:
            lam = self._lam
        combined = self._combine(losses, dist, task, lam)
        before = [parameter.detach().clone() for parameter in self.parameters] if measure else []
        self._apply(combined)
        if measure:
            found |= self._predicted(before, combined, dist, task, lam)
        if again is not None:
            after_dist, after_cls = again()
            fell_dist, fell_cls = loss_dist - after_dist, loss_cls - after_cls
            found["measured_decrease"] = lam * fell_dist + (1.0 - lam) * fell_cls
            found["measured_decrease_dist"] = fell_dist
            if losses.cls is not None:
                found["measured_decrease_cls"] = fell_cls
        return StepRow(
            round=round,
            step=step,
            lam=lam,
            loss_dist=loss_dist,
            loss_cls=loss_cls,
            learning_rate=self.optimiser.learning_rate,
            temperature=temperature,
            **found,
        )

    def _gram(self, losses: Losses, dist: list[Tensor], task: list[Tensor]) -> tuple[float, float, float]:
        """a, b, c where ``mode`` says: over all parameters of the two gradients, or of others that are taken for it.

        Those leave both graphs alive for the full backward pass.
        """
        if self.mode != "exact":
            if losses.cls is None or losses.logits_cls is None:
                raise ValueError("a geometry needs both losses")
            layer = self.mode == "last_layer"
            dist = gradients(losses.dist, self.last_layer if layer else [losses.logits_dist], keep=True)
            task = gradients(losses.cls, self.last_layer if layer else [losses.logits_cls], keep=True)
            if not layer and losses.logits_dist is not losses.logits_cls:
                return products((dist, dist))[0], 0.0, products((task, task))[0]
        a, b, c = products((dist, dist), (dist, task), (task, task))
        return a, b, c

    def _predicted(
        self, before: list[Tensor], combined: list[Tensor], dist: list[Tensor], task: list[Tensor], lam: float
    ) -> _Measured:
        """The predicted decreases of a step that has been made."""
        moved = torch._foreach_sub([parameter.detach() for parameter in self.parameters], before)
        if not dist or not task:
            found: _Measured = {"predicted_decrease": -products((combined, moved))[0]}
            if dist:
                found["predicted_decrease_dist"] = found["predicted_decrease"]
            return found
        fall_dist, fall_cls = (-each for each in products((dist, moved), (task, moved)))
        return {
            # Linear in the two gradients.
            "predicted_decrease": lam * fall_dist + (1.0 - lam) * fall_cls,
            "predicted_decrease_dist": fall_dist,
            "predicted_decrease_cls": fall_cls,
        }

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


def gradients(loss: Tensor, inputs: Sequence[Tensor], *, keep: bool = False) -> list[Tensor]:
    """∇loss by ``inputs``, zeros for those it does not reach; frees the graph unless told to ``keep`` it."""
    found = torch.autograd.grad(loss, list(inputs), retain_graph=keep, allow_unused=True)
    return [
        torch.zeros_like(tensor) if gradient is None else gradient
        for tensor, gradient in zip(inputs, found, strict=True)
    ]


def products(*pairs: tuple[Sequence[Tensor], Sequence[Tensor]]) -> list[float]:
    """The inner product of each pair over all its tensors, as many and as large in every pair.

    Products are in the tensors' own precision, sums over tensors in float64. A GPU is waited for once.
    """
    flat = {id(side): [each.reshape(-1) for each in side] for pair in pairs for side in pair}
    parts = [
        torch.dot(one, other)
        for left, right in pairs
        for one, other in zip(flat[id(left)], flat[id(right)], strict=True)
    ]
    found: list[float] = torch.stack(parts).view(len(pairs), -1).double().sum(dim=1).cpu().tolist()
    return found


def last_layer(student: nn.Module) -> list[nn.Parameter]:
    """The parameters of the last module that has trainable ones of its own."""
    own = [list(module.parameters(recurse=False)) for module in student.modules()]
    trainable = [[parameter for parameter in found if parameter.requires_grad] for found in own]
    return next((found for found in reversed(trainable) if found), [])
