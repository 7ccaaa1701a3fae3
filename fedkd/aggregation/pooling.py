"""Log-linear pools of the clients' answers, fitted on labelled samples."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Fitted = tuple[Array, Array]
"""Weights, shaped as the prior, and biases ``[classes]``."""


def fit(features: Array, labels: Labels, prior: Array, ridge: float, start: Fitted | None = None) -> Fitted:
    """Weights and biases by L-BFGS, from ``start`` or from the prior and no bias.

    Least mean cross-entropy + ridge·‖w − prior‖², convex. ``features`` are ``[clients, samples, classes]``; the prior,
    and so the weights, are ``[clients, 1]``, ``[clients, classes]`` or ``[clients, classes, classes]``. One weight per
    client stands for one per class, and is pulled as strongly as they would be together.
    """
    # Imported here because plug-ins are looked at, and listed, long before anything is fitted.
    from scipy.optimize import minimize

    clients, _, classes = features.shape
    strength = ridge * (classes if prior.shape[1:] == (1,) else 1)

    def objective(packed: Array) -> tuple[float, Array]:
        weight, bias = packed[:-classes].reshape(prior.shape), packed[-classes:]
        loss, slope = cross_entropy(pool(features, weight, bias), labels)
        pull = weight - prior
        loss += strength * float((pull**2).sum()) + ridge * float((bias**2).sum()) / clients
        by_weight = _pool_slope(features, slope, prior.shape) + 2 * strength * pull
        by_bias = slope.sum(axis=0) + 2 * ridge * bias / clients
        return loss, np.concatenate([by_weight.ravel(), by_bias])

    weight, bias = (prior, np.zeros(classes)) if start is None else start
    packed = np.concatenate([weight.ravel(), bias])
    found = minimize(objective, packed, jac=True, method="L-BFGS-B", options={"maxiter": 300, "gtol": 1e-5})
    return found.x[:-classes].reshape(prior.shape), found.x[-classes:]


def held_out_loss(
    features: Array, labels: Labels, prior: Array, folds: int, ridges: Sequence[float]
) -> tuple[float, float]:
    """The lowest summed cross-entropy of held-out samples, and its ridge; from the strongest on, while it falls."""
    held = np.arange(labels.size) % folds
    starts: list[Fitted | None] = [None] * folds
    best, chosen = np.inf, ridges[0]
    for ridge in ridges:
        loss = 0.0
        for fold in range(folds):
            train, test = held != fold, held == fold
            starts[fold] = start = fit(features[:, train], labels[train], prior, ridge, starts[fold])
            loss += test.sum() * cross_entropy(pool(features[:, test], *start), labels[test])[0]
        if loss >= best:
            break
        best, chosen = loss, ridge
    return best, chosen


def out_of_fold(features: Array, labels: Labels, prior: Array, ridge: float, folds: int, start: Fitted) -> Array:
    """For each labelled sample the pool's logits by a fit that did not see it, ``[labelled, classes]``."""
    held = np.arange(labels.size) % folds
    pooled = np.empty(features.shape[1:])
    for fold in range(folds):
        train = held != fold
        pooled[~train] = pool(features[:, ~train], *fit(features[:, train], labels[train], prior, ridge, start))
    return pooled


def pool(features: Array, weight: Array, bias: Array) -> Array:
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


def cross_entropy(logits: Array, labels: Labels) -> tuple[float, Array]:
    """The mean cross-entropy and its gradient by the logits."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(labels.size)
    slope = np.exp(log_probabilities)
    slope[rows, labels] -= 1.0
    return float(-log_probabilities[rows, labels].mean()), slope / labels.size
