"""Training of one model on tensors that are already in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn

from fedkd.config.schema import ClientsConfig
from fedkd.core.compute import laid_out_for, to_device
from fedkd.core.seeding import ambient_randomness
from fedkd.models import batches, make_optimiser
from fedkd.privacy.dp_sgd import PrivateSchedule, train_privately
from fedkd.privacy.mechanism import NoisyTraining

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""From a model, a batch of inputs and its labels to the loss."""


@dataclass(frozen=True)
class SampleLoss:
    """A loss that is a mean over samples of what depends on a sample's logits: clients can train by it as one stack.

    ``terms(logits, labels, *tensors)`` are the samples' terms, [samples] or [samples, ...], the mean of which is the
    loss; ``tensors`` are what they need besides. Clients whose ``terms`` are equal can be stacked.
    """

    terms: Callable[..., Tensor]
    tensors: tuple[Tensor, ...] = ()

    def __call__(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        if self.terms is _cross_entropies:  # the same gradients, by fewer operations
            return nn.functional.cross_entropy(model(inputs), labels)
        return self.terms(model(inputs), labels, *self.on(labels.device).tensors).mean()

    def on(self, device: torch.device) -> "SampleLoss":
        """The same loss with its tensors on ``device``."""
        return SampleLoss(self.terms, tuple(to_device(tensor, device) for tensor in self.tensors))


def _cross_entropies(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def _adjusted_cross_entropies(logits: Tensor, labels: Tensor, offset: Tensor) -> Tensor:
    return _cross_entropies(logits + offset, labels)


cross_entropy = SampleLoss(_cross_entropies)
"""The mean cross-entropy of the model's logits."""


def adjusted_cross_entropy(labels: Int[Tensor, " samples"], classes: int, strength: float) -> SampleLoss:
    """Cross-entropy on z + τ·log π, with π the shares of the classes among ``labels`` and τ ``strength``.

    Against label skew: a class that a client has little of is pushed down no more than its share explains, so the model
    keeps what it knew of classes that the client lacks (Menon et al. 2021, arXiv 2007.07314, Eq. 10; Zhang et al. 2022,
    arXiv 2209.00189, for federated clients). Counts are raised by 1, so that shares are not 0.
    """
    counts = torch.bincount(labels, minlength=classes) + 1.0
    return SampleLoss(_adjusted_cross_entropies, (strength * (counts / counts.sum()).log(),))


GATHERED = 64
"""Batches that are gathered at once: many, since that is cheaper, but no second copy of all samples."""


@runtime_checkable
class Trainer(Protocol):
    """What trains a model as ``train`` does."""

    def __call__(
        self,
        model: nn.Module,
        inputs: Shaped[Tensor, "samples ..."],
        labels: Int[Tensor, " samples"],
        config: ClientsConfig,
        *,
        epochs: int,
        generator: torch.Generator,
        loss: Loss = cross_entropy,
        private: NoisyTraining | None = None,
    ) -> None: ...


def train(
    model: nn.Module,
    inputs: Shaped[Tensor, "samples ..."],
    labels: Int[Tensor, " samples"],
    config: ClientsConfig,
    *,
    epochs: int,
    generator: torch.Generator,
    loss: Loss = cross_entropy,
    private: NoisyTraining | None = None,
) -> None:
    """Train ``model`` in place by ``loss``.

    With ``config.proximal`` μ > 0 adds FedProx's μ/2·‖w − w_received‖² (Li et al. 2020, arXiv 1812.06127, Eq. 2), where
    w_received are the parameters at the call.

    With ``private`` by DP-SGD, which raises ``ValueError`` for a loss other than cross-entropy, and for a model or
    samples that it cannot train (``fedkd.privacy.dp_sgd``).
    """
    device = next(model.parameters()).device
    optimiser = make_optimiser(model.parameters(), config)
    if private is not None:
        if loss is not cross_entropy:
            raise ValueError(
                "DP-SGD trains by plain cross-entropy: another loss need not be a sum over samples, and may use label "
                "counts; set clients.logit_adjustment=0 and clients.self_distillation=0 and choose a client rule "
                "without a loss of its own, or set privacy.mechanism=none"
            )
        train_privately(
            model,
            inputs,
            labels,
            optimiser,
            private.training,
            PrivateSchedule(epochs, config.batch_size, config.proximal, private.most),
            private.noise,
        )
        return
    anchor = [parameter.detach().clone() for parameter in model.parameters()] if config.proximal else []
    inputs, labels = to_device(inputs, device), to_device(labels, device)
    loss = loss.on(device) if isinstance(loss, SampleLoss) else loss
    model.train()
    with ambient_randomness(generator):
        for _ in range(epochs):
            for batch_inputs, batch_labels in _batches(model, inputs, labels, config.batch_size, generator):
                value = loss(model, batch_inputs, batch_labels)
                optimiser.zero_grad()
                value.backward()
                for parameter, start in zip(model.parameters(), anchor, strict=False):
                    if parameter.grad is not None:
                        parameter.grad.add_(parameter.detach() - start, alpha=config.proximal)
                optimiser.step()


def _batches(
    model: nn.Module, inputs: Tensor, labels: Tensor, size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One shuffled pass over the samples, laid out for the model."""
    everything = torch.arange(labels.numel(), device=labels.device)
    chosen = list(batches(everything, size, generator))
    for first in range(0, len(chosen), GATHERED):
        group = chosen[first : first + GATHERED]
        order, sizes = torch.cat(group), [batch.numel() for batch in group]
        yield from zip(laid_out_for(model, inputs[order]).split(sizes), labels[order].split(sizes), strict=True)
