"""The client's side: what a plain Flower client answers with. It works without torch."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message

from fedkd.app.plain_clients import public_files
from fedkd.app.plain_clients.protocol import LOGITS, NDArray, Request, as_samples, digest_of
from fedkd.core.errors import RunError


def logits_of(model: object, message: Message, *, public: object | None = None, batch_size: int = 256) -> ArrayRecord:
    """What a plain Flower client answers a training message of ``LogitDistillation`` with: ``{"logits": float32}``.

    ``model`` is a ``torch.nn.Module``, asked in evaluation mode, or any function from samples ``[n, ...]``, a NumPy
    array, to logits ``[n, classes]``. It is asked about the public samples that the message names, ``batch_size`` at a
    time. ``public`` are the node's own public samples, where the server does not send them; else they are filed in the
    node's folder when they come, and found there later.

    Raises ``RunError`` when the node has no public samples, or others than the server; when the model gives another
    shape, numbers that are not finite, or probabilities, which are no logits: take their logarithm.
    """
    request = Request.of(message)
    samples = _public(request, public)
    if request.positions is not None:
        if not _inside(request.positions, len(samples)):
            raise RunError(f"the server asks for positions beyond the {len(samples)} public samples")
        samples = samples[request.positions]
    # Copies, for models may change what they get.
    batches = (np.array(samples[start : start + batch_size]) for start in range(0, len(samples), batch_size))
    found = [_checked(part, size, request.classes) for part, size in _answers(model, batches)]
    logits = np.concatenate(found)
    if len(logits) > 1 and bool((logits >= 0).all()) and np.allclose(logits.sum(axis=1), 1.0, atol=1e-3):
        raise RunError(
            "model gives probabilities, which are no logits; let it give their logarithm: "
            "lambda x: np.log(model.predict_proba(x) + 1e-6)"
        )
    return ArrayRecord({LOGITS: Array(logits)})


def public_of(message: Message, *, public: object | None = None) -> NDArray:
    """All public samples ``[samples, ...]``, float32 or int64, for clients that train on the consensus.

    ``message`` and ``public`` are as for ``logits_of``, which raises the same.
    """
    return _public(Request.of(message), public).copy()


def _public(request: Request, own: object | None) -> NDArray:
    if own is not None:
        samples = as_samples(own)
        if (found := digest_of(samples)) != request.digest:
            raise RunError(
                f"public: must be the server's public samples, in their order, with digest {request.digest[:12]}…; got "
                f"{samples.dtype} of shape {samples.shape} with digest {found[:12]}…"
            )
        return samples
    if request.parts:
        return public_files.keep(np.concatenate([part.numpy() for part in request.parts]), request.digest)
    return public_files.load(request.digest)


def _inside(positions: NDArray, count: int) -> bool:
    return positions.dtype == np.int64 and bool(((positions >= 0) & (positions < count)).all())


def _answers(model: Any, batches: Iterator[NDArray]) -> Iterator[tuple[NDArray, int]]:
    """What the model makes of each batch, and how many samples that has."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        if not callable(model):
            raise RunError(
                f"model: must be a torch.nn.Module or a function from samples to logits, got {type(model).__name__}; "
                "for scikit-learn give a method, such as model.decision_function"
            )
        function: Callable[[NDArray], object] = model
        yield from ((np.asarray(function(batch)), len(batch)) for batch in batches)
        return
    device, training = next(iter(model.parameters()), torch.zeros(())).device, model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                yield model(torch.from_numpy(batch).to(device)).float().cpu().numpy(), len(batch)
    finally:
        model.train(training)


def _checked(found: NDArray, samples: int, classes: int) -> NDArray:
    if found.shape != (samples, classes) or found.dtype.kind not in "fiu":
        raise RunError(
            f"model must give numbers [samples, classes] = {(samples, classes)}, got {found.dtype} of shape "
            f"{found.shape}; one that has not seen every class has to leave a column for it"
        )
    logits = found.astype(np.float32)
    if not np.isfinite(logits).all():
        raise RunError("model gives NaN or infinity; where it takes the logarithm of a probability, add 1e-6 to that")
    return logits
