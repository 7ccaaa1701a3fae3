"""Cronus: the mean of what a spectral filter leaves."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class Cronus(LogitAggregator):
    """Mean of the probabilities after two passes of a spectral filter per sample (Chang et al. 2019, arXiv 1912.11279).

    A pass scores each report by |⟨p_k − p̄, v⟩|, with v the main direction of the reports' covariance, and drops the
    highest. With m clients voting and ``share`` α assumed to lie, ⌈α·m⌉ reports go, half in each pass (the odd one in
    the first), but never half of the votes or more; the paper drops α·m/2 a pass. Reports that tie at the border stay.

    Uses individual reports: the server sees what each client answers.
    """

    share: Annotated[float, Field(ge=0, lt=0.5)] = 0.2

    def aggregate(self, stack: ReportStack) -> Teacher:
        probabilities, kept = stack.probabilities.double(), stack.votes.double()
        voters = kept.sum(dim=0)
        total = torch.minimum((self.share * voters - 1e-9).ceil(), ((voters - 1) / 2).floor()).clamp_min(0.0)
        for drop in ((total / 2).ceil(), (total / 2).floor()):
            kept = _without_extremes(probabilities, kept, drop)
        weight = kept / kept.sum(dim=0)
        mean = torch.einsum("ks,ksc->sc", weight, probabilities)
        return Teacher.from_probabilities(mean.float(), client_weight=weight.mean(dim=1).float())


def _without_extremes(
    values: Float[Tensor, "clients samples classes"],
    kept: Float[Tensor, "clients samples"],
    drop: Float[Tensor, " samples"],
) -> Float[Tensor, "clients samples"]:
    """``kept`` (0 or 1) without the ``drop`` reports per sample that lie farthest out along the main direction."""
    mean = torch.einsum("ks,ksc->sc", kept, values) / kept.sum(dim=0).unsqueeze(-1)
    centred = (values - mean) * kept.unsqueeze(-1)
    direction = torch.linalg.eigh(torch.einsum("ksc,ksd->scd", centred, centred)).eigenvectors[..., -1]
    score = torch.einsum("ksc,sc->ks", centred, direction).abs().masked_fill(kept == 0, math.inf)
    last = (kept.sum(dim=0) - drop - 1).long().clamp_min(0)
    border = score.sort(dim=0).values.gather(0, last.unsqueeze(0))
    return kept * (score <= border + 1e-9)
