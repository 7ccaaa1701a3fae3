"""A stacked teacher: a log-linear pool whose weights are fitted on the labelled public samples."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.optimize import minimize

from fedkd.aggregation import LogitAggregator, ReportStack, Teacher
from fedkd.types import UNKNOWN_LABEL

LOG_FLOOR = -16.0
"""Smallest log-probability a client can claim, so that no report can dominate the pool by extreme logits."""

RIDGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths tried by cross-validation, strongest first, each fit starting from the one before."""

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass
class Stacked(LogitAggregator):
    """log p(c) ∝ Σ_k w_kc · log p_k(c) + b_c, with w and b fitted by cross-entropy on the labelled public samples.

    Stacked generalisation (Wolpert 1992) over a log-linear opinion pool (Genest & Zidek 1986). The fit is convex:
    mean cross-entropy + ``ridge``·‖w − w₀‖², where w₀ is the plain mean, 1/K. ``ridge`` null chooses it by
    ``folds``-fold cross-validation on the same labelled samples. ``weights``: one per ``client``; one per client and
    ``class`` (the formula above); or ``full``, a matrix per client, log p(c) ∝ Σ_k Σ_e w_kec · log p_k(e) + b_c, which
    also learns what a client's belief in one class says about another.

    Uses individual reports, and the fitted weights disclose which clients know which classes.
    """

    ridge: Annotated[float, Field(gt=0)] | None = None
    weights: Literal["client", "class", "full"] = "class"
    folds: Annotated[int, Field(ge=2)] = 5

    needs_labels: ClassVar[bool] = True

    def aggregate(self, stack: ReportStack) -> Teacher:
        features = stack.logits.double().log_softmax(dim=-1).clamp_min(LOG_FLOOR) * stack.votes.double().unsqueeze(-1)
        known = stack.labels != UNKNOWN_LABEL
        fit_on, labels = features[:, known].numpy(), stack.labels[known].numpy()
        ridge = self._cross_validated_ridge(fit_on, labels) if self.ridge is None else self.ridge
        weight, bias = self._fit(fit_on, labels, ridge)
        strength = np.abs(weight).reshape(len(weight), -1).sum(axis=1) + np.finfo(np.float64).tiny
        return Teacher.from_logits(
            torch.from_numpy(_pool(features.numpy(), weight, bias)).float(),
            client_weight=torch.from_numpy(strength / strength.sum()).float(),
        )

    def _cross_validated_ridge(self, features: Array, labels: Labels) -> float:
        """The ridge with the lowest held-out cross-entropy; the strongest with too few samples to hold any out."""
        folds = min(self.folds, labels.size)
        if folds < 2:
            return RIDGES[0]
        held = np.arange(labels.size) % folds
        losses = np.zeros(len(RIDGES))
        for fold in range(folds):
            train, test = held != fold, held == fold
            start = None
            for place, ridge in enumerate(RIDGES):
                start = self._fit(features[:, train], labels[train], ridge, start)
                losses[place] += test.sum() * _cross_entropy(_pool(features[:, test], *start), labels[test])[0]
        return RIDGES[int(losses.argmin())]

    def _plain_mean(self, clients: int, classes: int) -> Array:
        """w₀: ``[clients, 1]``, ``[clients, classes]`` or ``[clients, classes, classes]``, as ``weights`` says."""
        if self.weights == "full":
            return np.broadcast_to(np.eye(classes) / clients, (clients, classes, classes)).copy()
        return np.full((clients, classes if self.weights == "class" else 1), 1.0 / clients)

    def _fit(
        self, features: Array, labels: Labels, ridge: float, start: tuple[Array, Array] | None = None
    ) -> tuple[Array, Array]:
        """Weights (shaped as the plain mean's) and biases ``[classes]`` by L-BFGS, from ``start`` or the plain mean."""
        clients, _, classes = features.shape
        mean = self._plain_mean(clients, classes)
        # One weight per client stands for one per class, and is pulled as strongly as they would be together.
        strength = ridge * (classes if self.weights == "client" else 1)

        def objective(packed: Array) -> tuple[float, Array]:
            weight, bias = packed[:-classes].reshape(mean.shape), packed[-classes:]
            loss, slope = _cross_entropy(_pool(features, weight, bias), labels)
            pull = weight - mean
            loss += strength * float((pull**2).sum()) + ridge * float((bias**2).sum()) / clients
            by_weight = _pool_slope(features, slope, mean.shape) + 2 * strength * pull
            by_bias = slope.sum(axis=0) + 2 * ridge * bias / clients
            return loss, np.concatenate([by_weight.ravel(), by_bias])

        weight, bias = (mean, np.zeros(classes)) if start is None else start
        packed = np.concatenate([weight.ravel(), bias])
        found = minimize(objective, packed, jac=True, method="L-BFGS-B", options={"maxiter": 300, "gtol": 1e-5})
        return found.x[:-classes].reshape(mean.shape), found.x[-classes:]


def _pool(features: Array, weight: Array, bias: Array) -> Array:
    """Logits ``[samples, classes]`` of the pool, from log-probabilities ``[clients, samples, classes]``."""
    if weight.ndim == 3:
        pooled: Array = np.tensordot(features, weight, axes=([0, 2], [0, 1]))
    else:
        pooled = (features * weight[:, np.newaxis, :]).sum(axis=0)
    return pooled + bias


def _pool_slope(features: Array, slope: Array, shape: tuple[int, ...]) -> Array:
    """The gradient by the weights, from the gradient ``[samples, classes]`` by the pool's logits."""
    if len(shape) == 3:
        by_weight: Array = np.tensordot(features, slope, axes=([1], [0]))
        return by_weight
    by_class: Array = (features * slope).sum(axis=1)
    return by_class if shape[1] > 1 else by_class.sum(axis=1, keepdims=True)


def _cross_entropy(logits: Array, labels: Labels) -> tuple[float, Array]:
    """The mean cross-entropy and its gradient by the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(labels.size)
    slope = np.exp(log_probabilities)
    slope[rows, labels] -= 1.0
    return float(-log_probabilities[rows, labels].mean()), slope / labels.size
