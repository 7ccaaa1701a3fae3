"""Which labels of public samples the server knows, and by which of them it validates its work."""

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
    labels: Int[Tensor, " known"] | None = None,
) -> PublicSet:
    """Public samples of which the server knows some labels; ``held_out`` of these, stratified by class, validate.

    ``labels`` are what it has been told of the known ones (None: the truth).
    """
    told = torch.full_like(truth, UNKNOWN_LABEL)
    told[known] = truth[known] if labels is None else labels
    validation = torch.zeros(len(truth), dtype=torch.bool)
    validation[known] = _stratified(told[known], held_out)
    return PublicSet(inputs, told, truth, validation)


def mislabelled(
    labels: Int[Tensor, " samples"], share: float, classes: int, generator: torch.Generator
) -> Int[Tensor, " samples"]:
    """The labels, of which a share, rounded to whole ones, names another class, each other class as probable.

    By the same generator, who is wrong at a smaller share is so, in the same way, at a larger one.
    """
    order = torch.randperm(len(labels), generator=generator)
    steps = torch.randint(1, classes, (len(labels),), generator=generator)
    chosen = order[: round(share * len(labels))]
    found = labels.clone()
    found[chosen] = (labels[chosen] + steps[chosen]) % classes
    return found


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
