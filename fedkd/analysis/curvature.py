"""The curvature of losses: exactly at the logits, and by Lanczos in a network's parameters."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

_HALVINGS = 60
_VECTORS = 5
"""Of the Krylov space: a network's top eigenvalue stands apart from the others, so that few will do."""


def top_logit_curvature(logits: Float[Tensor, "samples classes"], temperature: float) -> Float[Tensor, " samples"]:
    """The largest eigenvalue of diag(p) − ppᵀ, with p = softmax(z/T), of each sample, in float64.

    T²·KL(teacher_T ‖ student_T) has this Hessian in the student's logits z, whatever the teacher; the bare KL has it
    times 1/T². A rank-one change of a diagonal matrix (Golub 1973, doi 10.1137/1015032), its largest eigenvalue
    lies between the two largest probabilities, where Σ p²/(p − λ) = 1, and is found by halving.
    """
    shares = (logits.double() / temperature).softmax(dim=-1)
    first, second = shares.topk(2, dim=-1).values.unbind(dim=-1)
    low, high = second, first
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        gaps = shares - middle.unsqueeze(-1)
        total = torch.where(gaps != 0, shares**2 / gaps, torch.inf).sum(dim=-1)
        low, high = torch.where(total < 1, middle, low), torch.where(total < 1, high, middle)
    return (low + high) / 2


def top_eigenvalue(
    losses: Sequence[Callable[[], Tensor]],
    parameters: Iterable[nn.Parameter],
    generator: torch.Generator,
    *,
    tolerance: float = 1e-2,
) -> float:
    """The largest eigenvalue of the Hessian, in the parameters, of the sum of ``losses``, by Lanczos (ARPACK).

    The Hessian is never formed: it is multiplied with vectors by differentiating twice (Pearlmutter 1994), loss by
    loss, so that the graph of one alone is in memory. ``generator`` draws the vector to start from; ``tolerance`` is
    relative. Raises ``ValueError`` without parameters, and where the eigenvalue is not found.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    chosen = [each for each in parameters if each.requires_grad]
    size = sum(each.numel() for each in chosen)
    if size == 0:
        raise ValueError("curvature needs a parameter that requires a gradient, got none")

    def multiplied(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return _hessian_times(losses, chosen, torch.from_numpy(np.array(vector, dtype=np.float64).ravel())).numpy()

    if size == 1:
        return float(multiplied(np.ones(1))[0])
    start = torch.randn(size, generator=generator).double().numpy()
    operator = LinearOperator((size, size), matvec=multiplied, dtype=np.float64)
    try:
        found = eigsh(
            operator,
            k=1,
            which="LA",
            v0=start,
            ncv=min(_VECTORS, size),
            tol=tolerance,
            return_eigenvectors=False,
            maxiter=100,
            rng=np.random.default_rng(generator.initial_seed()),
        )
    except ArpackError as error:
        # It refuses a matrix of zeros.
        if not multiplied(start).any():
            return 0.0
        raise ValueError(f"the largest eigenvalue was not found within {tolerance:.0%}") from error
    return float(found[0])


def _hessian_times(
    losses: Sequence[Callable[[], Tensor]], parameters: list[nn.Parameter], vector: Float[Tensor, " size"]
) -> Float[Tensor, " size"]:
    split = vector.split([each.numel() for each in parameters])
    directions = [part.view_as(each).to(each.dtype) for part, each in zip(split, parameters, strict=True)]
    total = torch.zeros_like(vector)
    for loss in losses:
        gradients = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
        slope = sum(((a * b).sum() for a, b in zip(gradients, directions, strict=True)), torch.zeros(()))
        # A loss that is linear in the parameters has no curvature, and its slope no graph.
        if slope.requires_grad:
            rows = torch.autograd.grad(slope, parameters, materialize_grads=True)
            total += torch.cat([row.flatten() for row in rows]).double()
    return total
