"""Networks that learn several tasks: the classes of each are a part of their outputs, one part after the other."""

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from fedkd.core.messages import UNKNOWN_LABEL

Heads = tuple[int, ...]
"""How many classes each task has, the main one first; () where there is one task alone."""


def split(outputs: Float[Tensor, "samples outputs"], heads: Heads) -> tuple[Float[Tensor, "samples classes"], ...]:
    """The outputs of each head."""
    return outputs.split(heads, dim=1) if heads else (outputs,)


def labels_by_head(labels: Int[Tensor, "samples *heads"], heads: Heads) -> tuple[Int[Tensor, " samples"], ...]:
    """The labels of each head; those of one task alone are [samples]."""
    return labels.unbind(1) if heads else (labels,)


def all_known(labels: Int[Tensor, "samples *heads"]) -> Bool[Tensor, " samples"]:
    """Which samples have a label, in every task."""
    return (labels != UNKNOWN_LABEL).flatten(1).all(dim=1) if labels.ndim > 1 else labels != UNKNOWN_LABEL


def unlabelled(samples: Int[Tensor, " samples"], heads: Heads) -> Int[Tensor, "samples *heads"]:
    """Labels of so many samples of which none is known."""
    return samples.new_full((len(samples), len(heads)) if heads else (len(samples),), UNKNOWN_LABEL)


def top_classes(outputs: Float[Tensor, "samples outputs"], heads: Heads) -> Int[Tensor, "samples *heads"]:
    """The class with the largest output of each head, as labels."""
    named = [part.argmax(dim=-1) for part in split(outputs, heads)]
    return torch.stack(named, dim=1) if heads else named[0]


def main_task(log_probabilities: Float[Tensor, "samples outputs"], heads: Heads) -> Float[Tensor, "samples classes"]:
    """The log-probabilities of the main task's classes, from those of all outputs together."""
    return split(log_probabilities, heads)[0].log_softmax(dim=-1) if heads else log_probabilities


class MainHead(nn.Module):
    """A network, with the same parameters, of whose outputs only the main task's are seen."""

    def __init__(self, network: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.network, self._heads = network, heads

    def forward(self, inputs: Shaped[Tensor, "samples ..."]) -> Float[Tensor, "samples classes"]:
        return split(self.network(inputs), self._heads)[0]


def main_head(network: nn.Module, heads: Heads) -> nn.Module:
    """What puts out the main task's logits alone: the network itself, where it has no other task."""
    return MainHead(network, heads) if heads else network
