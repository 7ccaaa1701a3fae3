"""What an ensemble does not know: because nobody can, or because its members have not learned it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Split:
    """The entropy of an ensemble's mean distribution in two parts, in nats, by sample.

    H(mean p) = mean H(p) + mean KL(p ‖ mean p) over the members (Depeweg et al. 2018, arXiv 1710.07283):
    ``aleatoric`` is what remains where all members agree, ``epistemic`` the mutual information between the class and
    the member that is asked.
    """

    total: Float[Tensor, " samples"]
    aleatoric: Float[Tensor, " samples"]
    epistemic: Float[Tensor, " samples"]


def entropy(log_probabilities: Float[Tensor, "*samples classes"]) -> Float[Tensor, "*samples"]:
    """−Σ p log p, in nats."""
    each: Tensor = torch.special.entr(log_probabilities.double().exp())
    return each.sum(dim=-1)


def split(log_probabilities: Float[Tensor, "members samples classes"]) -> Split:
    """The entropy of the members' mean distribution, each member counting alike."""
    exact = log_probabilities.double()
    mean = exact.exp().mean(dim=0)
    # By its own formula, and not as the difference of the others, which rounding would make negative.
    apart = torch.special.xlogy(exact.exp(), exact.exp() / mean.clamp_min(torch.finfo(torch.float64).tiny))
    return Split(
        total=torch.special.entr(mean).sum(dim=-1),
        aleatoric=entropy(exact).mean(dim=0),
        epistemic=apart.sum(dim=-1).mean(dim=0).clamp_min(0.0),
    )


def detection(usual: Float[Tensor, " usual"], strange: Float[Tensor, " strange"]) -> float:
    """The probability that a strange sample's score is above a usual one's (AUROC); 0.5 tells nothing."""
    from sklearn.metrics import roc_auc_score

    is_strange = torch.cat([torch.zeros(len(usual)), torch.ones(len(strange))])
    return float(roc_auc_score(is_strange.numpy(), torch.cat([usual, strange]).double().numpy()))
