"""Which classes a client has, from its answers on the public set."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fedkd.audit.attack import Disclosure, InferenceAttack
from fedkd.audit.attacks._class_shares import compare_shares


@dataclass(frozen=True)
class LabelDistribution(InferenceAttack):
    """The mean softmax over all public samples as estimate of the client's class shares (arXiv 2502.08001).

    Means over clients: ``kl`` is KL(truth ‖ estimate) in nats, ``l1`` the sum of absolute differences; ``kl_uniform``
    and ``l1_uniform`` the same for the guess that all classes are equally frequent.
    """

    def measure(self, disclosures: list[Disclosure]) -> Mapping[str, float]:
        return compare_shares(
            torch.stack([each.answers.double().softmax(dim=-1).mean(dim=0) for each in disclosures]),
            torch.stack([each.shares for each in disclosures]),
        )
