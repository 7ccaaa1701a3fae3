"""The likelihood ratio of two hypotheses: trained with the candidate, and without."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.audit.attack import Evidence, MembershipAttack, confidence, flattened
from fedkd.audit.attacks._gaussian import likelihood_ratio


@dataclass(frozen=True)
class LiraOnline(MembershipAttack):
    """LiRA with shadows that trained on the candidate and shadows that did not (Carlini et al. 2022, arXiv 2112.03570).

    log N(φ; in) − log N(φ; out) of the scaled confidence φ (Algorithm 1), jointly over rounds and views; one variance
    for all candidates below 64 shadows. With few shadows the gap between a candidate's two means is mostly noise, so it
    is drawn towards the mean gap of all candidates, as far as its variance is explained by that noise (empirical
    Bayes); ``shrink`` = false leaves that out, as in the paper.
    """

    shrink: bool = True

    def score(self, evidence: Evidence) -> Float[Tensor, " candidates"]:
        shadows = flattened(confidence(evidence.shadows, evidence.labels))
        answers = flattened(confidence(evidence.answers, evidence.labels))
        found = likelihood_ratio(shadows, evidence.included.numpy(), answers, shrink=self.shrink)
        return torch.from_numpy(found)
