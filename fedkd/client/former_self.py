"""A client's former self as its teacher, against forgetting what its own samples do not show."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fedkd.client.training import SampleLoss
from fedkd.distillation.divergence import divergences


def remembering(
    task: SampleLoss,
    labels: Int[Tensor, " train"],
    former: Float[Tensor, "train classes"],
    *,
    weight: float,
    temperature: float = 1.0,
    others: bool = False,
    room: int = 0,
) -> SampleLoss:
    """``task`` + β·T²·KL(former self_T ‖ model_T), of samples named by their rows instead of their labels.

    ``former`` are the logits on the client's samples of the model that it starts from, β is ``weight``: what the client
    has no samples to learn from, it is not to forget (Li and Hoiem 2016, arXiv 1606.09282, Eq. 5; for federated
    clients, Lee et al. 2022, arXiv 2106.03097). With ``others`` the softmax is over the classes that are not the
    sample's own, so that the label alone says how likely that one is (the same, Eq. 2: FedNTD). The tables are filled
    up to ``room`` rows: clients with tables of one size can be trained as one stack.
    """
    empty = max(room - labels.numel(), 0)
    tables = (
        torch.cat([labels, labels.new_zeros(empty)]),
        torch.cat([former, former.new_zeros(empty, former.shape[1])]),
    )
    return SampleLoss(_Remembering(task.terms, weight, temperature, others), (*tables, *task.tensors))


@dataclass(frozen=True)
class _Remembering:
    """The samples' terms; equal for clients that remember alike."""

    task: Callable[..., Tensor]
    weight: float
    temperature: float
    others: bool

    def __call__(self, logits: Tensor, rows: Tensor, labels: Tensor, former: Tensor, *tensors: Tensor) -> Tensor:
        own, target = labels[rows], former[rows]
        terms = self.task(logits, own, *tensors)
        if self.others:
            logits, target = _without(own, logits), _without(own, target)
        return terms + self.weight * divergences(logits, target, self.temperature)


def _without(
    labels: Int[Tensor, " samples"], logits: Float[Tensor, "samples classes"]
) -> Float[Tensor, "samples rest"]:
    """Every sample's logits but that of its label."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, columns + (columns >= labels[:, None]).long())
