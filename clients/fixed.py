"""An attacker that always names the same class."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field

from fedkd import ClientBehaviour, ClientContext, ClientRule, Upload
from fedkd.client.forging import Confidence, forged, one_hot


@dataclass(frozen=True)
class FixedClass(ClientBehaviour):
    """Claims class ``target`` for every query, with ``confidence`` (the fixed attack of Roux et al. 2024).

    z(c) = confidence·1[c = target]. Raises ``ValueError`` when there is no such class.
    """

    target: Annotated[int, Field(ge=0)] = 0
    confidence: Confidence = 20.0

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        classes = context.experiment.data.classes
        if self.target >= classes:
            raise ValueError(f"target must be one of the {classes} classes, 0 to {classes - 1}; got {self.target}")
        named = torch.full((len(context.queries),), self.target)
        return forged(rule.respond(context), lambda logits: one_hot(named, classes, self.confidence))
