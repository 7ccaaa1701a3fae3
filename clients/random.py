"""An attacker that names classes at random."""

from dataclasses import dataclass

import torch

from fedkd import ClientBehaviour, ClientContext, ClientRule, Upload
from fedkd.client.forging import Confidence, forged, one_hot


@dataclass(frozen=True)
class RandomClass(ClientBehaviour):
    """Claims, for every query, a class drawn uniformly, with ``confidence`` (the naive attack of Roux et al. 2024).

    z(c) = confidence·1[c = r(x)], r(x) ~ U{0 … C−1}, drawn anew every round and by every attacker for itself.
    """

    confidence: Confidence = 20.0

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        classes = context.experiment.data.classes
        drawn = torch.randint(classes, (len(context.queries),), generator=context.generator("random class"))
        return forged(rule.respond(context), lambda logits: one_hot(drawn, classes, self.confidence))
