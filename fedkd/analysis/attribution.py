"""Saliency: which parts of a sample a network's answer rests on, and whether two networks look at the same.

What is attributed is the score of a class before the softmax (Simonyan et al. 2014, arXiv 1312.6034, section 3), less
the mean over the classes, which a softmax does not see and no distillation teaches. It is the same for logits as for
log-probabilities, and does not vanish where a network is sure of itself.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedkd.analysis.subject import NotKnown
from fedkd.core.compute import laid_out_for

BATCH = 128


class MeanOpinion(nn.Module):
    """Networks as one: the weighted mean of their log-probabilities (weights None, or all 0: all alike)."""

    def __init__(self, networks: Mapping[int, nn.Module], weights: Mapping[int, float] | None = None) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks.values())
        shares = [1.0 if weights is None else weights.get(client, 0.0) for client in networks]
        total = sum(shares)
        self._shares = [share / total if total > 0 else 1.0 / len(shares) for share in shares]

    def forward(self, inputs: Float[Tensor, "samples ..."]) -> Float[Tensor, "samples classes"]:
        opinions = [network(inputs).log_softmax(dim=-1) for network in self.networks]
        return torch.stack([share * each for share, each in zip(self._shares, opinions, strict=True)]).sum(dim=0)


def scores(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """From samples to the scores of all classes, whose mean is 0."""

    def centred(inputs: Tensor) -> Tensor:
        logits: Tensor = model(laid_out_for(model, inputs))
        return logits - logits.mean(dim=-1, keepdim=True)

    return centred


def input_gradients(
    model: nn.Module, inputs: Float[Tensor, "samples ..."], classes: Int[Tensor, " samples"]
) -> Float[Tensor, "samples ..."]:
    """The gradient of each sample's score of its class in ``classes``, by the sample."""
    found, score = [], scores(model)
    for batch, named in zip(inputs.split(BATCH), classes.split(BATCH), strict=True):
        # A copy, for a network's first layer may write over what it gets.
        leaf = batch.detach().clone().requires_grad_()
        chosen = score(leaf.clone()).gather(1, named.unsqueeze(1)).sum()
        found.append(torch.autograd.grad(chosen, leaf)[0])
    return torch.cat(found)


def integrated_gradients(
    model: nn.Module, inputs: Float[Tensor, "samples ..."], classes: Int[Tensor, " samples"], *, steps: int = 16
) -> Float[Tensor, "samples ..."]:
    """The gradients on the way from 0 to the sample, averaged, times the sample (Sundararajan et al. 2017, equation 1).

    arXiv 1703.01365; 0 is the mean of samples that are standardised. Computed by captum. Raises ``NotKnown`` where
    that is not installed.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise NotKnown("integrated gradients need captum, not installed; pip install 'fedkd[analysis]'") from error
    method, size = IntegratedGradients(scores(model)), max(1, BATCH // steps)
    return torch.cat(
        [
            method.attribute(batch, target=named, n_steps=steps).to(batch.dtype)
            for batch, named in zip(inputs.detach().split(size), classes.split(size), strict=True)
        ]
    )


def cosines(first: Float[Tensor, "samples ..."], second: Float[Tensor, "samples ..."]) -> Float[Tensor, " samples"]:
    """The cosine of each sample's two attributions, in float64; NaN where one of them is 0 everywhere."""
    one, other = (nn.functional.normalize(each.flatten(1).double(), dim=1, eps=0.0) for each in (first, second))
    return (one * other).sum(dim=1).clamp(-1.0, 1.0)
