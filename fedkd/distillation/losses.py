"""The losses of distillation: from teacher to student in either direction, and the task's own."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor


def distillation_loss(
    logits: Float[Tensor, "samples classes"],
    target: Float[Tensor, "samples classes"],
    temperature: float,
    weight: Float[Tensor, " samples"] | None = None,
) -> Float[Tensor, ""]:
    """T²·KL(teacher_T ‖ student_T), averaged over samples by ``weight`` (Hinton et al. 2015, arXiv 1503.02531, §2).

    ``logits`` are the student's, ``target`` the teacher's log-probabilities (or logits); both are softened by T. T²
    undoes the 1/T² by which softening shrinks the gradients. All weights 0 give 0.
    """
    return _weighted_mean(divergences(logits, target, temperature), weight)


def divergences(
    logits: Float[Tensor, "samples classes"], target: Float[Tensor, "samples classes"], temperature: float
) -> Float[Tensor, " samples"]:
    """T²·KL(teacher_T ‖ student_T) of each sample; arguments as for ``distillation_loss``, which is their mean."""
    teacher = (target / temperature).log_softmax(dim=-1)
    student = (logits / temperature).log_softmax(dim=-1)
    return (teacher.exp() * (teacher - student)).sum(dim=-1) * temperature**2


def reverse_distillation_loss(
    logits: Float[Tensor, "samples classes"],
    target: Float[Tensor, "samples classes"],
    temperature: float,
    weight: Float[Tensor, " samples"] | None = None,
) -> Float[Tensor, ""]:
    """T²·KL(student_T ‖ teacher_T), averaged over samples by ``weight``; arguments as for ``distillation_loss``.

    It is mode-seeking: the student is punished for mass where the teacher has little, and may leave out classes that
    the teacher thinks possible (Gu et al. 2024, arXiv 2306.08543, §2.1).
    """
    teacher = (target / temperature).log_softmax(dim=-1)
    student = (logits / temperature).log_softmax(dim=-1)
    divergence = (student.exp() * (student - teacher)).sum(dim=-1) * temperature**2
    return _weighted_mean(divergence, weight)


def classification_loss(logits: Float[Tensor, "samples classes"], labels: Int[Tensor, " samples"]) -> Float[Tensor, ""]:
    """Mean cross-entropy at temperature 1."""
    return torch.nn.functional.cross_entropy(logits, labels)


DISTILLATION_LOSSES: Mapping[str, Callable[[Tensor, Tensor, float, Tensor | None], Tensor]] = {
    "kl": distillation_loss,
    "reverse_kl": reverse_distillation_loss,
}
"""The distillation losses by their names in a configuration: (logits, target, temperature, weight) to a scalar."""


def _weighted_mean(
    divergence: Float[Tensor, " samples"], weight: Float[Tensor, " samples"] | None
) -> Float[Tensor, ""]:
    if weight is None:
        return divergence.mean()
    total = weight.sum()
    return (weight * divergence).sum() / total.where(total > 0, torch.ones_like(total))
