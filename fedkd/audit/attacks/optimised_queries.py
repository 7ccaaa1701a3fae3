"""Membership inference by inputs that were optimised to give members away."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from fedkd.audit.asking.descent import STEPS, telling_apart
from fedkd.audit.attack import Asked, AskingAttack, Evidence, Rehearsal, confidence
from fedkd.audit.attacks._common_mood import without_common_mood
from fedkd.audit.attacks._gaussian import likelihood_ratio
from fedkd.audit.metrics import auc


@dataclass(frozen=True)
class OptimisedQueries(AskingAttack):
    """Asks about inputs beside a candidate (Canary, Wen et al. 2023, arXiv 2210.10750), not only the candidate itself.

    A walk from the candidate leads to where shadow models that trained on it still name its class and others do not, as
    far as ``reach`` of the public samples' mean distance from their mean; ``queries`` places on it are asked about. It
    is found on one half of the shadows; the client's answers are scored by the other half's, then the other way round,
    and both likelihood ratios, as in LiRA, are added: no shadow judges a query that was fitted to it. The measurement
    is the scaled confidence less what the model's confidences in all other candidates of the class have in common, at
    the one place, or averaged over all, by which that half's shadows are told from one another best. ``reach`` = 0 asks
    about the candidates themselves.
    """

    queries: Annotated[int, Field(ge=1, le=STEPS)] = 3
    reach: Annotated[float, Field(ge=0, le=10)] = 0.15

    def make(self, known: Rehearsal) -> Float[Tensor, "queries candidates ..."]:
        return telling_apart(known, queries=self.queries, reach=self.reach)

    def score(self, evidence: Evidence) -> Float[Tensor, " candidates"]:
        return torch.stack([self._by_half(asked, evidence.labels) for asked in evidence.asked]).sum(dim=0)

    def _by_half(self, asked: Asked, labels: Int[Tensor, " candidates"]) -> Float[Tensor, " candidates"]:
        answers, shadows = (_places(confidence(logits, labels)) for logits in (asked.answers, asked.shadows))
        chances = [_rehearsed(shadows[:, place], asked.included, labels) for place in range(shadows.shape[1])]
        best = int(np.argmax(chances))
        return _told(answers[best], shadows[:, best], asked.included, labels)


def _places(phi: Float[Tensor, "*batch queries candidates"]) -> Float[Tensor, "*batch places candidates"]:
    """Every single query, and after them the mean of all."""
    return torch.cat([phi, phi.mean(dim=-2, keepdim=True)], dim=-2)


def _told(
    answers: Float[Tensor, " candidates"],
    shadows: Float[Tensor, "shadows candidates"],
    included: Bool[Tensor, "shadows candidates"],
    labels: Int[Tensor, " candidates"],
) -> Float[Tensor, " candidates"]:
    """The likelihood ratio of each candidate."""
    measured, known = (without_common_mood(each, shadows, included, labels) for each in (answers, shadows))
    found = likelihood_ratio(known.unsqueeze(1).numpy(), included.numpy(), measured.unsqueeze(0).numpy(), shrink=True)
    return torch.from_numpy(found)


def _rehearsed(
    shadows: Float[Tensor, "shadows candidates"],
    included: Bool[Tensor, "shadows candidates"],
    labels: Int[Tensor, " candidates"],
) -> float:
    """The mean AUC at which each shadow's own candidates are told by the shadows of all other pairs."""
    found = []
    for shadow, (answers, had) in enumerate(zip(shadows, included, strict=True)):
        others = torch.arange(len(shadows)) // 2 != shadow // 2
        scores = _told(answers, shadows[others], included[others], labels).numpy()
        found.append(auc(scores[had.numpy()], scores[~had.numpy()]))
    return float(np.mean(found))
