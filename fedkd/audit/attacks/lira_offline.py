"""How unusual a confidence is for models that never saw the candidate."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.audit.attack import Evidence, MembershipAttack, confidence, flattened
from fedkd.audit.attacks._gaussian import Gaussians


@dataclass(frozen=True)
class LiraOffline(MembershipAttack):
    """LiRA with only those shadows that did not train on the candidate (Carlini et al. 2022, section VI-A, Equation 4).

    What rises with 1 − Pr[Z > φ]: the standard score of the scaled confidence φ, jointly over rounds and views.
    """

    def score(self, evidence: Evidence) -> Float[Tensor, " candidates"]:
        shadows = flattened(confidence(evidence.shadows, evidence.labels))
        outside = Gaussians.fit(shadows, ~evidence.included.numpy(), shadows=len(shadows))
        return torch.from_numpy(outside.surprise(flattened(confidence(evidence.answers, evidence.labels))))
