"""What losses are made of: softened distributions, their divergence, and means by weight."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.distillation.heads import Heads, labels_by_head, split

Temperatures = float | Float[Tensor, " samples"]
"""T > 0, one for all samples or one for each."""


def at(temperature: Temperatures, chosen: Int[Tensor, " chosen"]) -> float | Float[Tensor, " chosen"]:
    """Those of some samples, by their positions."""
    return temperature[chosen] if isinstance(temperature, Tensor) else temperature


def of_all(
    temperature: float | Float[Tensor, " public"], public: Int[Tensor, " public"], count: int
) -> float | Float[Tensor, " all"]:
    """Where the public samples have temperatures of their own: those of all samples, by position; the others' are 1."""
    if not isinstance(temperature, Tensor):
        return temperature
    found = torch.ones(count, dtype=temperature.dtype, device=temperature.device)
    found[public.to(found.device)] = temperature
    return found


def mean(temperature: Temperatures) -> float:
    """Their mean over the samples."""
    return float(temperature.mean()) if isinstance(temperature, Tensor) else temperature


def column(temperature: Temperatures) -> float | Float[Tensor, "samples 1"]:
    """What logits [samples, classes] are divided by."""
    return temperature.unsqueeze(1) if isinstance(temperature, Tensor) else temperature


def softened(logits: Float[Tensor, "samples classes"], temperature: Temperatures) -> Float[Tensor, "samples classes"]:
    """The log-probabilities of the logits, or log-probabilities, divided by T."""
    return (logits / column(temperature)).log_softmax(dim=-1)


def divergences(
    logits: Float[Tensor, "samples classes"], target: Float[Tensor, "samples classes"], temperature: Temperatures
) -> Float[Tensor, " samples"]:
    """T²·KL(teacher_T ‖ student_T) of each sample; arguments as for ``distillation_loss``, which is their mean."""
    teacher, student = softened(target, temperature), softened(logits, temperature)
    return (teacher.exp() * (teacher - student)).sum(dim=-1) * temperature**2


def distillation_loss(
    logits: Float[Tensor, "samples classes"],
    target: Float[Tensor, "samples classes"],
    temperature: Temperatures,
    weight: Float[Tensor, " samples"] | None = None,
) -> Float[Tensor, ""]:
    """T²·KL(teacher_T ‖ student_T), averaged over samples by ``weight`` (Hinton et al. 2015, arXiv 1503.02531, §2).

    ``logits`` are the student's, ``target`` the teacher's log-probabilities (or logits); both are softened by T. T²
    undoes the 1/T² by which softening shrinks the gradients. All weights 0 give 0.
    """
    return weighted_mean(divergences(logits, target, temperature), weight)


def classification_loss(
    logits: Float[Tensor, "samples outputs"], labels: Int[Tensor, "samples *heads"], heads: Heads = ()
) -> Float[Tensor, ""]:
    """Mean cross-entropy at temperature 1; the sum of the heads', where there are several."""
    parts = zip(split(logits, heads), labels_by_head(labels, heads), strict=True)
    first, *others = (torch.nn.functional.cross_entropy(part, named) for part, named in parts)
    return sum(others, start=first)


def weighted_mean(
    values: Float[Tensor, " samples"], weight: Float[Tensor, " samples"] | None = None
) -> Float[Tensor, ""]:
    """The mean over samples by ``weight`` (None: all alike); 0 where all weights are."""
    if weight is None:
        return values.mean()
    total = weight.sum()
    return (weight * values).sum() / total.where(total > 0, torch.ones_like(total))
