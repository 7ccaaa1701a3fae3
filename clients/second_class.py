"""An attacker that names the class it thinks second likeliest."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fedkd import ClientBehaviour, ClientContext, ClientRule, Upload
from fedkd.client.forging import Confidence, forged, one_hot


@dataclass(frozen=True)
class SecondClass(ClientBehaviour):
    """Trains honestly, then claims its own second likeliest class, with ``confidence``: plausible, and wrong.

    z(c) = confidence·1[c = second(x)], second(x) the class of the second largest logit (the lower class index where
    logits tie). Roux et al. 2024 take it from the honest clients' mean; here no collusion is needed.
    """

    confidence: Confidence = 20.0

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        return forged(rule.respond(context), lambda logits: second_class(logits, self.confidence))


def second_class(logits: Float[Tensor, "samples classes"], confidence: float) -> Float[Tensor, "samples classes"]:
    """Certainty of each row's second largest entry."""
    ranked = logits.argsort(dim=-1, descending=True, stable=True)
    return one_hot(ranked[:, 1], logits.shape[-1], confidence)
