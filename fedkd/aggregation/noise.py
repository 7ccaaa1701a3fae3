"""Noise on what is aggregated."""

import torch
from torch import Tensor

from fedkd.aggregation.types import ReportStack, ReportSum


def noised(values: Tensor, noise: float, reports: ReportStack | ReportSum) -> Tensor:
    """``values`` + N(0, noise²), drawn from the reports' generator."""
    if reports.generator is None:
        raise ValueError("a teacher with noise draws from the stack's generator, and it has none; pass generator=")
    return values + noise * torch.randn(values.shape, generator=reports.generator, dtype=values.dtype)
