"""Targets that combine the labels with the teacher, so that one loss serves for both."""

import math
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.distillation.divergence import Temperatures, softened
from fedkd.distillation.heads import Heads, labels_by_head, split


def smoothed_one_hot(labels: Int[Tensor, " samples"], classes: int, epsilon: float) -> Float[Tensor, "samples classes"]:
    """q_hard^ε: 1 − ε at the label, and ε spread evenly over all classes (Szegedy et al. 2016, arXiv 1512.00567, §7).

    Labels lie in [0, classes), ε in [0, 1]: 0 gives one-hot rows, 1 uniform ones. Raises ``ValueError`` otherwise.
    """
    _check_share("epsilon", epsilon)
    _check_labels(labels, classes, lowest=0)
    return torch.nn.functional.one_hot(labels.long(), classes).float() * (1.0 - epsilon) + epsilon / classes


def consensus_target(
    teacher_log_probs: Float[Tensor, "samples classes"],
    labels: Int[Tensor, "samples *heads"],
    *,
    alpha: float,
    epsilon: float,
    temperature: Temperatures,
    heads: Heads = (),
) -> Float[Tensor, "samples classes"]:
    """The log-probabilities of α·q_hard^ε + (1−α)·q_teacher^T; of q_teacher^T alone where the label is −1.

    It is the one target that stands for both: for any prediction p, α·CE(q_hard^ε, p) + (1−α)·CE(q_teacher^T, p) is the
    cross-entropy to it, and so is least where p equals it. α is the weight of the label. The target is softened
    already: what is compared with it must be p itself, and softening target and student once more softens the teacher
    twice and the labels as well. Probabilities of exactly 0 become the smallest float, so that every entry is finite.
    The target of networks that learn several tasks is the targets of their ``heads`` side by side.

    Raises ``ValueError`` when α or ε is outside [0, 1], T is not positive and finite, a label is outside [−1, classes),
    or the teacher is not finite.
    """
    if heads:
        parts = zip(split(teacher_log_probs, heads), labels_by_head(labels, heads), strict=True)
        target = partial(consensus_target, alpha=alpha, epsilon=epsilon, temperature=temperature)
        return torch.cat([target(part, named) for part, named in parts], dim=1)
    _check_share("alpha", alpha)
    _check_share("epsilon", epsilon)
    heat = torch.as_tensor(temperature)
    if not bool((heat.isfinite() & (heat > 0)).all()):
        raise ValueError(f"temperature must be positive and finite, got {temperature}; 1 takes the teacher as it is")
    if teacher_log_probs.ndim != 2 or labels.shape != teacher_log_probs.shape[:1]:
        raise ValueError(
            "teacher_log_probs must be [samples, classes] and labels one per sample; "
            f"got {tuple(teacher_log_probs.shape)} and {tuple(labels.shape)}"
        )
    if not bool(torch.isfinite(teacher_log_probs).all()):
        raise ValueError("teacher_log_probs must be finite; Teacher.from_probabilities floors zeros")
    classes = teacher_log_probs.shape[1]
    _check_labels(labels, classes, lowest=UNKNOWN_LABEL)
    labels = labels.to(teacher_log_probs.device)
    soft = softened(teacher_log_probs, temperature)
    hard = smoothed_one_hot(labels.clamp_min(0), classes, epsilon).to(soft.dtype).log()
    mixture = torch.logaddexp(hard + _log(alpha), soft + _log(1.0 - alpha))
    # Only α = 1 leaves entries of probability 0.
    mixture = mixture.masked_fill(mixture == -math.inf, math.log(torch.finfo(soft.dtype).tiny))
    return torch.where((labels == UNKNOWN_LABEL).unsqueeze(1), soft, mixture)


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value}; it is a share of probability")


def _check_labels(labels: Tensor, classes: int, *, lowest: int) -> None:
    if labels.numel() > 0 and not lowest <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"labels must lie in [{lowest}, {classes - 1}], got {int(labels.min())} to {int(labels.max())}; "
            f"classes is {classes}"
        )
