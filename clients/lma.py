"""The loss maximisation attack."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from fedkd import ClientBehaviour
from fedkd.client.behaviour import AdversaryView
from fedkd.client.forging import Confidence, honest_probabilities, one_hot


@dataclass(frozen=True)
class LossMaximisation(ClientBehaviour):
    """LMA: all attackers claim the class that is least likely in the honest mean (Roux et al. 2024, arXiv 2402.12265).

    z(c) = confidence·1[c = argmin_e p̄_H(e)], p̄_H = Σ_h softmax(z_h) / H over the honest clients. Of all answers it
    raises the cross-entropy to the honest mean most.
    """

    confidence: Confidence = 20.0

    needs_others: ClassVar[bool] = True

    def collude(self, view: AdversaryView) -> Float[Tensor, "samples classes"]:
        mean = honest_probabilities(view).mean(dim=0)
        return one_hot(mean.argmin(dim=-1), mean.shape[-1], self.confidence)
