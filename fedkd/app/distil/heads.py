"""The labels of networks that learn several tasks, and how right they are in each."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.data import ExperimentData
from fedkd.distillation.heads import split
from fedkd.models import hit_rate


def private_labels(data: ExperimentData) -> Int[Tensor, "samples *heads"]:
    """Those of the private samples; [samples] without ``data.heads``."""
    return _beside(data.labels, [data.other_labels[name].private for name in data.heads])


def public_labels(data: ExperimentData) -> Int[Tensor, "samples *heads"]:
    """Those of the public samples that the server may train on, −1 elsewhere; [samples] without ``data.heads``."""
    return _beside(data.public.labels, [data.other_labels[name].public for name in data.heads])


def _beside(labels: Tensor, others: list[Tensor]) -> Tensor:
    # Who does not know the class knows nothing else.
    known = [other.masked_fill(labels == UNKNOWN_LABEL, UNKNOWN_LABEL) for other in others]
    return torch.stack([labels, *known], dim=1) if others else labels


def further_accuracies(
    data: ExperimentData, scores: Mapping[str, Float[Tensor, "samples outputs"]]
) -> dict[str, dict[str, float]]:
    """By task of ``data.heads`` and network, the share of test samples that its ``scores`` are right on."""
    return {
        name: {
            network: hit_rate(split(outputs, data.head_sizes)[position], data.other_labels[name].test)
            for network, outputs in scores.items()
        }
        for position, name in enumerate(data.heads, start=1)
    }
