"""Members have smaller losses."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from fedkd.audit.attack import Evidence, MembershipAttack


@dataclass(frozen=True)
class LossThreshold(MembershipAttack):
    """Minus the cross-entropy, averaged over rounds and views (Yeom et al. 2018, arXiv 1709.01604)."""

    needs_shadows: ClassVar[bool] = False

    def score(self, evidence: Evidence) -> Float[Tensor, " candidates"]:
        log_probabilities = evidence.answers.double().log_softmax(dim=-1)
        places = evidence.labels.expand(log_probabilities.shape[:-1]).unsqueeze(-1)
        return log_probabilities.gather(-1, places).squeeze(-1).mean(dim=(0, 1))
