"""The other clients' models as models that never saw the candidate."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.audit.attack import Evidence, MembershipAttack, Observation, confidence, flattened
from fedkd.audit.attacks._gaussian import Gaussians


@dataclass(frozen=True)
class CoOperativeLira(MembershipAttack):
    """LiRA without shadows: the other clients' answers stand for those of models without the candidate.

    After Co-op LiRA (Shi, Ouyang and Wang 2025, arXiv 2502.08001): the standard score of the target's scaled confidence
    among the others', with one variance for all candidates. It costs no training, but suffers where the clients' data
    differ much: others may be unsure of a class for want of it.
    """

    observations: ClassVar[frozenset[Observation]] = frozenset({"queried", "transcript"})
    needs_shadows: ClassVar[bool] = False
    needs_others: ClassVar[bool] = True

    def score(self, evidence: Evidence) -> Float[Tensor, " candidates"]:
        others = flattened(confidence(evidence.others, evidence.labels))
        everybody = np.ones((len(others), others.shape[-1]), dtype=bool)
        outside = Gaussians.fit(others, everybody, shadows=len(others))
        return torch.from_numpy(outside.surprise(flattened(confidence(evidence.answers, evidence.labels))))
