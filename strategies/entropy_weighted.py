"""Mean of the clients' probabilities, weighted per sample by their entropy."""

from dataclasses import dataclass

import torch

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class EntropyWeighted(LogitAggregator):
    """Σ_k w_k p_k, w = softmax over the voting clients of −H(p_k) in nats, per sample; a common baseline.

    The weights of two clients differ by a factor of C at most, between a one-hot and a uniform report.

    Uses individual reports. A client that claims certainty is believed, though never alone.
    """

    def aggregate(self, stack: ReportStack) -> Teacher:
        probabilities = stack.logits.double().softmax(dim=-1)
        entropy = torch.special.entr(probabilities).sum(dim=-1)
        weight = (-entropy).masked_fill(stack.votes == 0, -torch.inf).softmax(dim=0)
        pooled = torch.einsum("ks,ksc->sc", weight, probabilities)
        return Teacher.from_probabilities(pooled.float(), client_weight=weight.mean(dim=1).float())
