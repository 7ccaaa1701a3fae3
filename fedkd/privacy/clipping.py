"""Bounding what a report can be, so that noise can hide it."""

import torch
from jaxtyping import Float
from torch import Tensor


def clip_vectors(
    vectors: Float[Tensor, "*batch samples classes"], bound: float
) -> Float[Tensor, "*batch samples classes"]:
    """Each vector centred and scaled down to Euclidean norm at most ``bound``, in float64.

    Centring takes off what softmax does not see. Whatever comes in, what goes out is finite and within the bound: NaN
    counts as 0, infinity as the largest float32.
    """
    centred = _centred(vectors)
    return centred * _factor(centred.norm(dim=-1, keepdim=True), bound)


def clip_report(
    reports: Float[Tensor, "*batch samples classes"], bound: float
) -> Float[Tensor, "*batch samples classes"]:
    """Each report's vectors centred, and all together scaled down to Frobenius norm at most ``bound``, in float64."""
    centred = _centred(reports)
    return centred * _factor(centred.norm(dim=(-2, -1), keepdim=True), bound)


def _centred(vectors: Tensor) -> Tensor:
    largest = torch.finfo(torch.float32).max
    finite = torch.nan_to_num(vectors.double(), nan=0.0).clamp(-largest, largest)
    return finite - finite.mean(dim=-1, keepdim=True)


def _factor(norm: Tensor, bound: float) -> Tensor:
    return (bound / norm.clamp_min(torch.finfo(torch.float64).tiny)).clamp_max(1.0)
