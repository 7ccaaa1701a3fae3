"""Linear probes: what each layer of a network tells a linear classifier (Alain & Bengio 2016, arXiv 1610.01644)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from fedkd.core.compute import laid_out_for
from fedkd.models import tapped

BATCH = 128
NEARLY = 0.95
"""The share of the last layer's accuracy from which on a layer counts as separating the classes."""
_SAME = (nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


@dataclass(frozen=True)
class Probe:
    """One layer, by its name; ``depth`` is its place among the layers that are run, 1 the last, 0 the samples."""

    layer: str
    depth: float
    accuracy: float


def layer_names(model: nn.Module, inputs: Shaped[Tensor, "samples ..."]) -> list[str]:
    """The innermost modules in the order in which they are first run, of those that put out numbers for each sample.

    Modules that leave values as they are do not count: identities, dropout in evaluation, changes of shape.
    """
    found: dict[str, None] = {}

    def keep(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and output.shape[:1] == inputs.shape[:1]:
            found[name] = None

    innermost = [
        (name, module)
        for name, module in model.named_modules()
        if not list(module.children()) and not isinstance(module, _SAME)
    ]
    handles = [
        module.register_forward_hook(lambda module, given, output, name=name: keep(name, output))
        for name, module in innermost
    ]
    try:
        with torch.no_grad():
            model(laid_out_for(model, inputs))
    finally:
        for handle in handles:
            handle.remove()
    return list(found)


def spread(names: Sequence[str], most: int) -> dict[str, float]:
    """Up to ``most`` of the names at equal distances, the last among them, with their depths in (0, 1]."""
    count = len(names)
    places = np.unique(np.linspace(count, 1, min(most, count)).round().astype(int)).tolist()
    return {names[place - 1]: place / count for place in places}


def hashed(
    values: Float[Tensor, "samples features"], width: int, generator: torch.Generator
) -> Float[Tensor, "samples reduced"]:
    """Every feature added, with a random sign, to one of ``width`` sums; as they are where there are no more than that.

    Keeps inner products in expectation (Weinberger et al. 2009, arXiv 0902.2206, definition 1), as a dense random
    projection does, without its matrix.
    """
    features = values.shape[1]
    if features <= width:
        return values
    places = torch.randint(width, (features,), generator=generator)
    signs = torch.randint(2, (features,), generator=generator).to(values.dtype) * 2 - 1
    return values.new_zeros(len(values), width).index_add_(1, places, values * signs)


@torch.no_grad()
def layer_outputs(
    model: nn.Module, inputs: Shaped[Tensor, "samples ..."], names: Sequence[str], *, width: int, seed: int
) -> dict[str, Float[Tensor, "samples features"]]:
    """What the layers put out, flattened, and ``hashed`` where wider than ``width``, by the same draws for a seed."""
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for batch in inputs.split(BATCH):
        draw = torch.Generator().manual_seed(seed)
        with tapped(model, names) as outputs:
            model(laid_out_for(model, batch))
        for name in names:
            parts[name].append(hashed(outputs[name].flatten(1).float(), width, draw))
    return {name: torch.cat(part) for name, part in parts.items()}


def probe_accuracy(
    train: Float[Tensor, "train features"],
    train_labels: Int[Tensor, " train"],
    test: Float[Tensor, "test features"],
    test_labels: Int[Tensor, " test"],
) -> float:
    """The share of test samples that a logistic regression on the training samples' features names rightly.

    Features are standardised by the training samples, and coefficients held back as scikit-learn does by default: none
    of its strengths is better at every layer. Raises ``ValueError`` where the training samples are of one class alone.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if int(train_labels.unique().numel()) < 2:
        raise ValueError(f"a probe is fitted on samples of at least two classes, got {train_labels.unique().tolist()}")
    mean, scale = train.double().mean(dim=0), train.double().std(dim=0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    fitted, measured = (((each.double() - mean) / scale).numpy() for each in (train, test))
    with warnings.catch_warnings():
        # What little is left to gain does not change a share of right answers.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(max_iter=200, tol=1e-3).fit(fitted, train_labels.numpy())
    return float((probe.predict(measured) == test_labels.numpy()).mean())


def probe_layers(
    model: nn.Module,
    train: tuple[Shaped[Tensor, "train ..."], Int[Tensor, " train"]],
    test: tuple[Shaped[Tensor, "test ..."], Int[Tensor, " test"]],
    *,
    layers: int = 12,
    width: int = 256,
    seed: int = 0,
) -> tuple[Probe, ...]:
    """Probes, fitted on ``train`` and measured on ``test``, of the samples and of up to ``layers`` layers, by depth.

    Samples that are tokens have no probe of their own. ``width`` bounds the features that a probe gets, and ``seed``
    draws how wider ones are reduced.
    """
    depths = spread(layer_names(model, train[0][:2]), layers)
    features = [layer_outputs(model, inputs, list(depths), width=width, seed=seed) for inputs, _ in (train, test)]
    if train[0].is_floating_point():
        depths = {"": 0.0, **depths}
        for outputs, (inputs, _) in zip(features, (train, test), strict=True):
            outputs[""] = hashed(inputs.flatten(1), width, torch.Generator().manual_seed(seed))
    return tuple(
        Probe(name, depth, probe_accuracy(features[0][name], train[1], features[1][name], test[1]))
        for name, depth in depths.items()
    )


def separable_depth(probes: Sequence[Probe]) -> float:
    """The first depth at which a probe has ``NEARLY`` of the accuracy of the last layer's."""
    return next(each.depth for each in probes if each.accuracy >= NEARLY * probes[-1].accuracy)


def area(probes: Sequence[Probe]) -> float:
    """The mean accuracy over depth, by trapezoids: near the last layer's where the task is separable early."""
    if len(probes) == 1:
        return probes[0].accuracy
    depths = np.array([each.depth for each in probes])
    return float(np.trapezoid([each.accuracy for each in probes], depths) / (depths[-1] - depths[0]))
