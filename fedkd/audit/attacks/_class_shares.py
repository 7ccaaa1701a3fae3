"""How near an estimate of class shares comes to the truth."""

import torch
from jaxtyping import Float
from torch import Tensor

from fedkd.audit.metrics import auc

_FLOOR = 1e-6


def compare_shares(
    estimates: Float[Tensor, "clients classes"], truth: Float[Tensor, "clients classes"]
) -> dict[str, float]:
    """Mean divergence KL(truth ‖ estimate) and L1 distance, beside those of a uniform guess.

    An estimate of 0 counts as 10⁻⁶.
    """
    truth = truth.double()
    uniform = torch.full_like(truth, 1 / truth.shape[-1])
    found = {}
    for suffix, guess in (("", estimates.double()), ("_uniform", uniform)):
        floored = guess.clamp_min(_FLOOR)
        floored = floored / floored.sum(dim=-1, keepdim=True)
        found[f"kl{suffix}"] = float(torch.xlogy(truth, truth / floored).sum(dim=-1).mean())
        found[f"l1{suffix}"] = float((guess - truth).abs().sum(dim=-1).mean())
    return found


def ranked_shares(
    estimates: Float[Tensor, "clients classes"], truth: Float[Tensor, "clients classes"]
) -> dict[str, float]:
    """How well estimates tell whether a client has more of a class than its even share; nothing without both cases."""
    frequent = truth > 1 / truth.shape[-1]
    if bool(frequent.any()) and not bool(frequent.all()):
        return {"auc": auc(estimates[frequent].numpy(), estimates[~frequent].numpy())}
    return {}
