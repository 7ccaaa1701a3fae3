"""A candidate's likelihood ratio against that of other samples."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.audit.attack import Evidence, MembershipAttack


@dataclass(frozen=True)
class Rmia(MembershipAttack):
    """RMIA (Zarifzadeh, Liu and Shokri 2024, arXiv 2312.03262, Equations 3 and 4).

    The share of population samples z for which p(x|θ)/p(x) exceeds ``gamma``·p(z|θ)/p(z), where p(x) is the mean of
    p(x|θ') over shadows θ'. The population are the other candidates, whose membership is not known. Over rounds and
    views the logarithms of the ratios are averaged. With ``offline`` only shadows without the sample count, and p(x) is
    taken as ((1 + ``a``)·p_out + 1 − ``a``)/2.
    """

    gamma: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    offline: bool = False
    a: Annotated[float, Field(ge=0, le=1)] = 0.3

    def score(self, evidence: Evidence) -> Float[Tensor, " candidates"]:
        own = _true_class(evidence.answers, evidence.labels)
        shadows = _true_class(evidence.shadows, evidence.labels)
        if self.offline:
            out = (~evidence.included).double()[:, None, None, :]
            reference = (shadows * out).sum(dim=0) / out.sum(dim=0).clamp_min(1)
            reference = ((1 + self.a) * reference + 1 - self.a) / 2
        else:
            reference = shadows.mean(dim=0)
        tiny = torch.finfo(torch.float64).tiny
        ratio = (own.clamp_min(tiny).log() - reference.clamp_min(tiny).log()).mean(dim=(0, 1))
        # How many z have log ratio(z) < log ratio(x) − log γ; x itself is none of them.
        bar = ratio - torch.tensor(self.gamma, dtype=torch.float64).log()
        ordered = ratio.sort().values
        below = torch.searchsorted(ordered, bar, right=True).double()
        itself = (ratio <= bar).double()
        return (below - itself) / max(ratio.numel() - 1, 1)


def _true_class(logits: Tensor, labels: Tensor) -> Tensor:
    probabilities = logits.double().softmax(dim=-1)
    return probabilities.gather(-1, labels.expand(probabilities.shape[:-1]).unsqueeze(-1)).squeeze(-1)
