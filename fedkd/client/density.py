"""How much denser a client's own samples lie at a point than reference samples do."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BLOCK = 2**22
"""Largest number of kernel values held at once, 32 MiB of them."""

SAME = 1e-9
"""How far below 1 the kernel of two equal points may come out."""


@dataclass(frozen=True)
class DensityRatio:
    """r_g(x) ≈ p_g(x)/q(x) for groups g of samples, by kernel-based least squares.

    KuLSIF (Kanamori, Suzuki and Sugiyama 2012, Machine Learning 86): with the m samples u of p_g (``numerator``) and n
    samples v of q (``denominator``), k(x, y) = exp(−‖x − y‖²/2σ²), σ = ``width`` in the points' own units and
    λ = ``ridge``, r_g(x) = Σ_i α_i k(x, v_i) + 1/(λm) Σ_j k(x, u_j), where α (a column of ``inner``) solves
    (K_vv/n + λI) α = −K_vu 1/(λnm); ``outer`` holds the 1/(λm). All in float64. Estimates fall below 0 where p_g has no
    mass.

    The loss pulls r towards 0 at the v themselves. At a point that is one of them the estimate is therefore the one
    that the other samples give, which is r(v_i)/(λ [(K_vv/n + λI)⁻¹]_ii); ``left_out`` holds these denominators.
    """

    numerator: Float[Tensor, "m dimensions"]
    denominator: Float[Tensor, "n dimensions"]
    outer: Float[Tensor, "m groups"]
    inner: Float[Tensor, "n groups"]
    left_out: Float[Tensor, " n"]
    width: float
    ridge: float

    @classmethod
    def fit(
        cls,
        numerator: Float[Tensor, "m dimensions"],
        denominator: Float[Tensor, "n _"],
        *,
        width: float,
        ridge: float,
        groups: Int[Tensor, " m"] | None = None,
    ) -> "DensityRatio":
        """The estimates from samples of p and of q; the groups share one n × n factorisation, and O(n² + nm) time each.

        ``groups`` are 0, 1, ... without a gap (None: all of one). Raises ``ValueError``.
        """
        member = torch.zeros(len(numerator), dtype=torch.long) if groups is None else groups
        _check(numerator, denominator, member, width, ridge)
        above, below = numerator.double(), denominator.double()
        outer = torch.nn.functional.one_hot(member).double()
        outer /= ridge * outer.sum(dim=0)
        system = _kernel(below, below, width) / len(below)
        # K_vv is positive semidefinite, so with λ > 0 the system has a Cholesky factor.
        system.diagonal().add_(ridge)
        right = -_expand(below, above, outer, width) / len(below)
        factor = torch.linalg.cholesky(system)
        left_out = ridge * torch.cholesky_inverse(factor).diagonal()
        return cls(above, below, outer, torch.cholesky_solve(right, factor), left_out, width, ridge)

    def __call__(self, points: Float[Tensor, "points dimensions"]) -> Float[Tensor, "points groups"]:
        """The estimated ratios at each point."""
        if points.ndim != 2 or points.shape[1] != self.numerator.shape[1]:
            raise ValueError(f"points must be [points, {self.numerator.shape[1]}], got {tuple(points.shape)}")
        where = points.double()
        values = _expand(where, self.numerator, self.outer, self.width)
        rows = max(1, BLOCK // len(self.denominator))
        for block, value in zip(where.split(rows), values.split(rows), strict=True):
            kernel = _kernel(block, self.denominator, self.width)
            value += kernel @ self.inner
            nearest, index = kernel.max(dim=1)
            same = nearest > 1 - SAME
            value[same] /= self.left_out[index[same]].unsqueeze(1)
        return values


@dataclass(frozen=True)
class Components:
    """Coordinates along the directions in which samples vary most (principal component analysis), in float64."""

    mean: Float[Tensor, " features"]
    directions: Float[Tensor, "features dimensions"]

    @classmethod
    def fit(cls, samples: Float[Tensor, "samples features"], dimensions: int) -> "Components":
        """The first ``dimensions`` components of ``samples``; the largest entry of each direction is positive.

        Raises ``ValueError`` when there are not so many features.
        """
        if samples.ndim != 2 or 0 in samples.shape or not 1 <= dimensions <= samples.shape[1]:
            raise ValueError(
                f"dimensions must lie between 1 and the features of the samples, got {dimensions} for samples of shape "
                f"{tuple(samples.shape)}; lower it"
            )
        mean = samples.double().mean(dim=0)
        centred = samples.double() - mean
        # Eigenvalues rise; the scatter matrix is features × features, however many samples there are.
        directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :dimensions]
        largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
        return cls(mean, directions * torch.where(largest < 0, -1.0, 1.0))

    def __call__(self, points: Float[Tensor, "points features"]) -> Float[Tensor, "points dimensions"]:
        """The points' coordinates."""
        return (points.double() - self.mean) @ self.directions


def typical_distance(points: Float[Tensor, "points dimensions"]) -> float:
    """The median Euclidean distance between the first 500 points and the next 500; raises ``ValueError``.

    A scale for kernel widths. With fewer points, between the two halves.
    """
    half = min(500, len(points) // 2)
    if half == 0:
        raise ValueError(f"a distance needs two points, got {len(points)}")
    distance = float(torch.cdist(points[:half].double(), points[half : 2 * half].double()).median())
    if distance == 0:
        raise ValueError("half of the points coincide, so their distances give no scale; set the width yourself")
    return distance


def _check(numerator: Tensor, denominator: Tensor, groups: Tensor, width: float, ridge: float) -> None:
    for name, points in (("numerator", numerator), ("denominator", denominator)):
        if points.ndim != 2 or 0 in points.shape:
            raise ValueError(f"{name} must be [samples, dimensions], none of them 0; got {tuple(points.shape)}")
        if not bool(torch.isfinite(points).all()):
            raise ValueError(f"{name} must be finite; drop the samples with NaN or infinity")
    if numerator.shape[1] != denominator.shape[1]:
        raise ValueError(
            "numerator and denominator must have as many dimensions, got "
            f"{numerator.shape[1]} and {denominator.shape[1]}"
        )
    present = groups.unique()
    if groups.shape != (len(numerator),) or not torch.equal(present, torch.arange(len(present))):
        raise ValueError(f"groups must be one per sample, numbered from 0 without a gap; got {present.tolist()}")
    for name, value in (("width", width), ("ridge", ridge)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a positive number, got {value}")


def _kernel(left: Tensor, right: Tensor, width: float) -> Tensor:
    return torch.cdist(left, right).square_().mul_(-0.5 / width**2).exp_()


def _expand(left: Tensor, right: Tensor, weights: Tensor, width: float) -> Tensor:
    """K(left, right) weights, in blocks of rows."""
    rows = max(1, BLOCK // len(right))
    return torch.cat([_kernel(block, right, width) @ weights for block in left.split(rows)])
