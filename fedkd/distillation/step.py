"""One optimiser step of distillation: two gradients, their geometry, λ, and the combined descent."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedkd.balancing import LambdaBalancer
from fedkd.types import GradientGeometry


@dataclass(frozen=True)
class StepRow:
    """One row of ``distillation.csv``. Decreases are of λ·L_dist + (1−λ)·L_cls; None where not measured."""

    round: int
    step: int
    weight: float
    loss_dist: float
    loss_cls: float
    norm_dist: float
    norm_cls: float
    cos: float
    predicted_decrease: float
    measured_decrease: float | None = None


def gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """∇loss, zeros for parameters it does not reach; frees the graph."""
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, found, strict=True)
    ]


def gram(dist: Sequence[Tensor], task: Sequence[Tensor]) -> tuple[float, float, float]:
    """(‖dist‖², dist·task, ‖task‖²) over all parameters."""
    a = sum((gradient.square().sum() for gradient in dist), start=torch.zeros(()))
    b = sum((left.mul(right).sum() for left, right in zip(dist, task, strict=True)), start=torch.zeros(()))
    c = sum((gradient.square().sum() for gradient in task), start=torch.zeros(()))
    numbers = torch.stack([a, b, c]).tolist()
    return numbers[0], numbers[1], numbers[2]


def balanced_step(
    loss_dist: Tensor,
    loss_cls: Tensor | None,
    parameters: Sequence[nn.Parameter],
    optimiser: torch.optim.Optimizer,
    balancer: LambdaBalancer,
    *,
    round: int,
    step: int,
    steps: int,
) -> StepRow:
    """Descend along λ·∇L_dist + (1−λ)·∇L_cls with two backward passes, each through its own loss's graph.

    Without a task loss (no labels) λ is 1. ``predicted_decrease`` is η·q(λ), the first-order decrease of one plain SGD
    step with the optimiser's current learning rate η (importance analysis, Eqs. 7–14).
    """
    dist = gradients(loss_dist, parameters)
    task = [torch.zeros_like(left) for left in dist] if loss_cls is None else gradients(loss_cls, parameters)
    a, b, c = gram(dist, task)
    geometry = GradientGeometry(
        a=a,
        b=b,
        c=c,
        loss_dist=loss_dist.item(),
        loss_cls=0.0 if loss_cls is None else loss_cls.item(),
        step=step,
        steps=steps,
    )
    weight = 1.0 if loss_cls is None else balancer.update(geometry)
    for parameter, left, right in zip(parameters, dist, task, strict=True):
        parameter.grad = left.mul_(weight).add_(right, alpha=1.0 - weight)
    rate = float(optimiser.param_groups[0]["lr"])
    optimiser.step()
    return StepRow(
        round=round,
        step=step,
        weight=weight,
        loss_dist=geometry.loss_dist,
        loss_cls=geometry.loss_cls,
        norm_dist=a**0.5,
        norm_cls=c**0.5,
        cos=geometry.cosine,
        predicted_decrease=rate * geometry.decrease(weight),
    )
