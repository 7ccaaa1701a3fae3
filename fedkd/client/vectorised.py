"""Training many clients' models of one architecture as one stacked model.

A GPU takes about as long to start a small operation as to do it. With the clients' parameters stacked along a new axis
and ``torch.func.vmap`` over it, a step of all clients takes as many operations as a step of one.

Client c's k-th step is the stack's k-th, whatever the others do: clients are sorted by how many steps they have, so
that those with any left are the first of the stack, and an optimiser sees only these. Nothing of a client that is done
moves any more, neither by momentum nor by weight decay.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.modules.batchnorm import _BatchNorm  # noqa: PLC2701
from torch.nn.modules.dropout import _DropoutNd  # noqa: PLC2701

from fedkd.client.training import Loss, SampleLoss, cross_entropy
from fedkd.config.schema import ClientsConfig
from fedkd.core.compute import to_device
from fedkd.core.optimisers import Optimiser
from fedkd.core.samples import unlike
from fedkd.models import batch_sizes, batches, make_optimiser
from fedkd.privacy.mechanism import NoisyTraining

SAME_TRAINING = ("batch_size", "optimiser", "learning_rate", "momentum", "weight_decay", "proximal")
"""What clients of one stack have in common, of the section ``clients``."""


@dataclass(frozen=True)
class Training:
    """What one client asks for: the arguments of ``fedkd.client.training.train``."""

    model: nn.Module
    inputs: Shaped[Tensor, "samples ..."]
    labels: Int[Tensor, " samples"]
    config: ClientsConfig
    epochs: int
    generator: torch.Generator
    loss: Loss = cross_entropy
    private: NoisyTraining | None = None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def arguments(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def vectorisable(training: Training) -> bool:
    """Whether it can be part of a stack.

    Not with DP-SGD, nor by a loss that is no ``SampleLoss``, nor for models with buffers, dropout or batch
    normalisation: these need a client's own random numbers, or the samples of exactly its own batch. Neither for models
    that use parameters under several names, nor where there is nothing to train.
    """
    model = training.model
    named = list(model.named_parameters(remove_duplicate=False))
    return (
        training.private is None
        and isinstance(training.loss, SampleLoss)
        and training.labels.numel() > 0
        and training.epochs > 0
        and any(parameter.requires_grad for _, parameter in named)
        and len({id(parameter) for _, parameter in named}) == len(named)
        and next(model.buffers(), None) is None
        and not any(isinstance(module, _BatchNorm | _DropoutNd) for module in model.modules())
    )


def signature(training: Training) -> Hashable:
    """Equal for stackable trainings that fit into one stack."""
    loss = training.loss
    if not isinstance(loss, SampleLoss):
        raise TypeError(f"loss must be a SampleLoss to be stacked, got {type(loss).__name__}")
    parameters = tuple(
        (name, each.shape, each.dtype, each.device, each.requires_grad)
        for name, each in training.model.named_parameters()
    )
    return (
        repr(training.model),
        parameters,
        training.inputs.shape[1:],
        tuple(getattr(training.config, name) for name in SAME_TRAINING),
        loss.terms,
        tuple((tensor.shape, tensor.dtype) for tensor in loss.tensors),
    )


def train_vectorised(trainings: Sequence[Training]) -> None:
    """Train the models in place, each as ``fedkd.client.training.train`` would, up to rounding.

    They must be stackable and alike. Every client's generator gives the same shuffles as there, and ends where it would
    there. Raises ``ValueError`` for a model whose output for a sample depends on the other samples of its batch.
    """
    ordered = sorted(trainings, key=_steps, reverse=True)
    first = ordered[0]
    for training in ordered:
        training.model.train()
    _check_samples_apart(first.model, to_device(first.inputs[:1], first.device))
    stack = _Stack(ordered)
    schedule = _Schedule.draw(ordered)
    done = 0
    for steps in sorted({_steps(training) for training in ordered}):
        active = sum(_steps(training) >= steps for training in ordered)
        stack.narrow(active)
        for step in range(done, steps):
            stack.step(*schedule.batch(step, active))
        done = steps
    stack.hand_back()


def _steps(training: Training) -> int:
    return training.epochs * len(_sizes(training))


def _sizes(training: Training) -> list[int]:
    return batch_sizes(training.labels.numel(), training.config.batch_size)


@torch.no_grad()
def _check_samples_apart(model: nn.Module, sample: Tensor) -> None:
    """Short batches are filled up with samples of weight 0, which must not matter to the others."""
    alone = model(torch.cat([sample, sample]))[0]
    beside = model(torch.cat([sample, unlike(sample)]))[0]
    # A client whose training has diverged says nothing about that.
    if not torch.allclose(alone, beside, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise ValueError("the model's output for a sample depends on the other samples of its batch")


class _Stack:
    """The clients' parameters along a first axis, and the optimiser of the clients that still train."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        first = trainings[0]
        self._trainings = trainings
        self._model, self._config, self._loss = first.model, first.config, _sample_loss(first)
        own = [dict(training.model.named_parameters()) for training in trainings]
        self._trainable = [name for name, parameter in own[0].items() if parameter.requires_grad]
        self._all = {name: torch.stack([each[name].detach() for each in own]) for name in own[0]}
        self._anchor = {name: self._all[name].clone() for name in self._trainable} if self._config.proximal else {}
        losses = [_sample_loss(training).on(first.device) for training in trainings]
        self._tensors = [torch.stack(each) for each in zip(*(loss.tensors for loss in losses), strict=True)]
        self._active = 0
        self._leaves: list[nn.Parameter] = []
        self._optimiser: Optimiser | None = None

    def narrow(self, active: int) -> None:
        """Go on with the first ``active`` clients alone."""
        before = self._optimiser
        # Parts of the stack, not copies: what the optimiser changes, it changes there.
        self._leaves = [nn.Parameter(self._all[name][:active].detach()) for name in self._trainable]
        self._optimiser = make_optimiser(self._leaves, self._config)
        self._active = active
        if before is None:
            return
        state = before.state_dict()
        for kept in state["state"].values():
            # A number of steps is the same for all who are left.
            kept |= {key: value[:active] for key, value in kept.items() if isinstance(value, Tensor)}
        self._optimiser.load_state_dict(state)

    def step(self, inputs: Tensor, labels: Tensor, weights: Tensor) -> None:
        """One step of every active client: inputs ``[active, batch, ...]``, labels and weights ``[active, batch]``."""
        if self._optimiser is None:
            raise ValueError("a stack takes no step before it is told who takes part")
        state = {name: tensor[: self._active] for name, tensor in self._all.items()}
        state.update(zip(self._trainable, self._leaves, strict=True))
        tensors = [tensor[: self._active] for tensor in self._tensors]
        terms = vmap(self._terms)(state, inputs, labels, *tensors)
        # No client's loss depends on another's parameters, so the sum has the gradient of each.
        total = (terms.reshape(*labels.shape, -1).mean(dim=2) * weights).sum()
        gradients = torch.autograd.grad(total, self._leaves, allow_unused=True)
        for leaf, gradient, name in zip(self._leaves, gradients, self._trainable, strict=True):
            leaf.grad = gradient
            if gradient is not None and self._anchor:
                gradient.add_(leaf.detach() - self._anchor[name][: self._active], alpha=self._config.proximal)
        self._optimiser.step()

    @torch.no_grad()
    def hand_back(self) -> None:
        """Give every client its trained parameters."""
        trained: list[Tensor] = []
        values: list[Tensor] = []
        for index, training in enumerate(self._trainings):
            parameters = dict(training.model.named_parameters())
            trained += [parameters[name] for name in self._trainable]
            values += [self._all[name][index] for name in self._trainable]
        torch._foreach_copy_(trained, values)

    def _terms(self, state: dict[str, Tensor], inputs: Tensor, labels: Tensor, *tensors: Tensor) -> Tensor:
        return self._loss.terms(functional_call(self._model, state, (inputs,)), labels, *tensors)


@dataclass(frozen=True)
class _Schedule:
    """Every client's batches: the rows of ``inputs`` and ``labels`` that make them up, and what each row counts for.

    Batches of less than the full size are filled up with a client's first sample, of weight 0.
    """

    inputs: Tensor
    labels: Tensor
    rows: Int[Tensor, "steps clients batch"]
    weights: Float[Tensor, "steps clients batch"]

    @classmethod
    def draw(cls, trainings: Sequence[Training]) -> "_Schedule":
        """The batches as ``train`` would draw them; ``trainings`` have the longest first."""
        device = trainings[0].device
        counts = [training.labels.numel() for training in trainings]
        width = max(max(_sizes(training)) for training in trainings)
        rows = torch.zeros(_steps(trainings[0]), len(trainings), width, dtype=torch.long)
        weights = torch.zeros(rows.shape, dtype=next(trainings[0].model.parameters()).dtype)
        begin = 0
        for index, (training, count) in enumerate(zip(trainings, counts, strict=True)):
            for step, batch in enumerate(_batches(training)):
                rows[step, index, : batch.numel()] = batch
                weights[step, index, : batch.numel()] = 1.0 / batch.numel()
            rows[:, index] += begin
            begin += count
        return cls(
            torch.cat([to_device(training.inputs, device) for training in trainings]),
            torch.cat([to_device(training.labels, device) for training in trainings]),
            to_device(rows, device),
            to_device(weights, device),
        )

    def batch(self, step: int, active: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, labels and weights of the first ``active`` clients' batches."""
        rows = self.rows[step, :active]
        return self.inputs[rows], self.labels[rows], self.weights[step, :active]


def _batches(training: Training) -> Iterator[Tensor]:
    everything = torch.arange(training.labels.numel())
    for _ in range(training.epochs):
        yield from batches(everything, training.config.batch_size, training.generator)


def _sample_loss(training: Training) -> SampleLoss:
    if not isinstance(training.loss, SampleLoss):
        raise TypeError(f"loss must be a SampleLoss to be stacked, got {type(training.loss).__name__}")
    return training.loss
