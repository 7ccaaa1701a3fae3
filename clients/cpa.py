"""The class prior attack."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from fedkd import ClientBehaviour
from fedkd.client.behaviour import AdversaryView
from fedkd.client.forging import Confidence, class_covariance, honest_probabilities, one_hot


@dataclass(frozen=True)
class ClassPrior(ClientBehaviour):
    """CPA: all attackers claim the class least similar to the honest mean's top class (Roux et al. 2024).

    z(c) = confidence·1[c = argmin_e S(t, e)], t = argmax p̄_H (arXiv 2402.12265). The authors estimate the similarity S
    with a model trained beforehand; here it is the covariance of the honest means' shares over the round's samples.
    Samples of one class get one and the same wrong class, so the lie is consistent and easy to learn.
    """

    confidence: Confidence = 20.0

    needs_others: ClassVar[bool] = True

    def collude(self, view: AdversaryView) -> Float[Tensor, "samples classes"]:
        mean = honest_probabilities(view).mean(dim=0)
        opposite = class_covariance(mean).argmin(dim=-1)
        return one_hot(opposite[mean.argmax(dim=-1)], mean.shape[-1], self.confidence)
