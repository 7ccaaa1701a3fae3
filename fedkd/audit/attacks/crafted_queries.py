"""Which classes a client has, from its answers on images that show nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from fedkd.audit.attack import Disclosure, InferenceAttack, Observation
from fedkd.audit.attacks._class_shares import compare_shares, ranked_shares


@dataclass(frozen=True)
class CraftedQueries(InferenceAttack):
    """Property inference by a malicious public set: blends of public images, and noise.

    On these a model falls back on how frequent classes were in its training. The mean softmax over them estimates the
    class shares; figures as for label_distribution. ``auc`` is how well the estimate tells, over all clients and
    classes, whether a client holds more of a class than its even share; 0.5 is chance, and it is left out where no
    class, or every class, is that frequent.
    """

    observation: ClassVar[Observation] = "queried"

    def measure(self, disclosures: list[Disclosure]) -> Mapping[str, float]:
        estimates = torch.stack([each.crafted.double().softmax(dim=-1).mean(dim=0) for each in disclosures])
        truth = torch.stack([each.shares for each in disclosures]).double()
        return compare_shares(estimates, truth) | ranked_shares(estimates, truth)
