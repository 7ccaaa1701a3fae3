"""Queries beside candidates, at which models that trained on them differ most from models that did not."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import softplus

from fedkd.audit.attack import Rehearsal, confidence
from fedkd.core.compute import laid_out_for

STEPS = 8
"""Steps of a walk away from a candidate."""


def telling_apart(known: Rehearsal, *, queries: int, reach: float) -> Float[Tensor, "queries candidates ..."]:
    """Places on a walk that begins at each candidate and ends ``reach`` away from it: both ends and between them.

    ``reach`` is a share of the public samples' mean distance from their mean. Every step goes down the gradient of the
    mean cross-entropy −log p_y of models that had the candidate plus the mean −log(1 − p_y) of those that had not (Wen
    et al. 2023, arXiv 2210.10750, Equation 3), and after k of K steps the walk is (k/K)² of its length: most of what
    there is to gain lies close by. Places are at equal intervals of k, a single one at the end; values stay in the
    samples' range.
    """
    centre = known.public.mean(dim=0)
    far = reach * float((known.public - centre).flatten(1).norm(dim=1).mean())
    low, high = torch.cat([known.public, known.inputs]).aminmax()
    kept = {round(STEPS * number / (queries - 1)) for number in range(queries)} if queries > 1 else {STEPS}
    place = known.inputs
    found = [place] if 0 in kept else []
    for step in range(1, STEPS + 1):
        length = far * (step**2 - (step - 1) ** 2) / STEPS**2
        slope = torch.stack(list(slopes(known.models, known.included, place, known.labels))).sum(dim=0)
        place = (place - length * of_length_one(slope)).clamp(low, high)
        if step in kept:
            found.append(place)
    return torch.stack(found)


def slopes(
    models: Sequence[nn.Module],
    included: Bool[Tensor, "models candidates"],
    inputs: Float[Tensor, "candidates ..."],
    labels: Int[Tensor, " candidates"],
) -> Iterator[Float[Tensor, "candidates ..."]]:
    """Each model's part of the gradient at ``inputs``."""
    counts = included.sum(dim=0).clamp_min(1), (~included).sum(dim=0).clamp_min(1)
    for model, had in zip(models, included, strict=True):
        device = next(model.parameters()).device
        place = laid_out_for(model, inputs.to(device)).detach().clone().requires_grad_(True)
        # −log p_y and −log(1 − p_y), from the logit of p_y.
        phi = confidence(model(place).cpu(), labels)
        loss = torch.where(had, softplus(-phi) / counts[0], softplus(phi) / counts[1]).sum()
        (slope,) = torch.autograd.grad(loss, place)
        yield slope.cpu()


def of_length_one(directions: Float[Tensor, "candidates ..."]) -> Float[Tensor, "candidates ..."]:
    """Each divided by its Euclidean norm; 0 stays 0."""
    norms = directions.flatten(1).norm(dim=1).clamp_min(torch.finfo(directions.dtype).tiny)
    lengthened: Tensor = directions / norms.reshape(-1, *[1] * (directions.dim() - 1))
    return lengthened
