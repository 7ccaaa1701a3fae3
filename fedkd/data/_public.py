"""Which public samples the server trains on, and which validate its work."""

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.data._types import PublicSet


def public_set(
    inputs: Shaped[Tensor, "samples ..."],
    truth: Int[Tensor, " samples"],
    known: Bool[Tensor, " samples"],
    held_out: int,
) -> PublicSet:
    """Public samples of which the server knows some labels; ``held_out`` of these, stratified by class, validate."""
    validation = torch.zeros(len(truth), dtype=torch.bool)
    validation[known] = _stratified(truth[known], held_out)
    labels = torch.where(known & ~validation, truth, UNKNOWN_LABEL)
    return PublicSet(inputs, labels, truth, validation)


def _stratified(labels: Int[Tensor, " samples"], count: int) -> Bool[Tensor, " samples"]:
    """``count`` samples with each class's share as near as can be to its share of all (largest remainders)."""
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    if count == 0:
        return chosen
    sizes = torch.bincount(labels)
    quotas = sizes * count // len(labels)
    remainders = sizes * count % len(labels)
    quotas[remainders.argsort(descending=True, stable=True)[: count - int(quotas.sum())]] += 1
    for label, quota in enumerate(quotas.tolist()):
        chosen[(labels == label).nonzero().flatten()[:quota]] = True
    return chosen
