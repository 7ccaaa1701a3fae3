"""The likelihood ratio of two hypotheses: trained with the candidate, and without."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.audit.attack import Evidence, MembershipAttack, confidence, flattened
from fedkd.audit.attacks._gaussian import Gaussians, shrunk


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
        included = evidence.included.numpy()
        count = len(shadows)
        inside, outside = (Gaussians.fit(shadows, chosen, shadows=count) for chosen in (included, ~included))
        if self.shrink:
            inside, outside = shrunk(inside, outside)
        return torch.from_numpy(inside.log_density(answers) - outside.log_density(answers))
