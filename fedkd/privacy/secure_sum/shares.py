"""Secrets in shares (Shamir 1979): any t of them give the secret back, fewer say nothing about it.

Over the integers modulo 65537, each 16-bit word of a secret by a polynomial of its own and all of them at once in
NumPy: 100 clients take a fraction of a second, where a library's arithmetic in GF(2¹²⁸) takes about twenty.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fedkd.privacy.secure_sum.entropy import Entropy

PRIME = 65537
SECRET_BYTES = 32
LIMBS = SECRET_BYTES // 2

Shares = npt.NDArray[np.int64]


def split(secret: bytes, owners: Sequence[int], threshold: int, entropy: Entropy, purpose: str) -> Shares:
    """A share ``[owners, 16]`` of a 32-byte secret for each owner (ids from 0 to 65,534, at x = id + 1).

    The coefficients are 64 random bits modulo the prime, which is uniform but for 2^−47.
    """
    draw = np.frombuffer(entropy.draw(purpose, 8 * (threshold - 1) * LIMBS), dtype="<u8")
    coefficients = (draw % PRIME).astype(np.int64).reshape(threshold - 1, LIMBS)
    points = np.asarray(owners, dtype=np.int64)[:, np.newaxis] + 1
    values = np.zeros((len(owners), LIMBS), dtype=np.int64)
    for row in coefficients[::-1]:  # Horner's rule, every product below 2³⁴
        values = (values + row) * points % PRIME
    shares: Shares = (values + np.frombuffer(secret, dtype="<u2")) % PRIME
    return shares


def combine(owners: Sequence[int], shares: Shares) -> list[bytes | None]:
    """The secrets ``[secrets]`` of which ``shares`` ``[secrets, owners, 16]`` are; None where they belong to none."""
    weights = _at_zero(owners)
    # Sums of fewer than 2¹⁶ products below 2³⁴.
    words = np.einsum("o,sol->sl", weights, shares) % PRIME
    return [row.astype("<u2").tobytes() if int(row.max()) < 2**16 else None for row in words]


def _at_zero(owners: Sequence[int]) -> npt.NDArray[np.int64]:
    """Lagrange's weights, by which values at x = id + 1 add up to the polynomial's value at 0."""
    points = [owner + 1 for owner in owners]
    weights = []
    for index, x in enumerate(points):
        above = below = 1
        for other in points[:index] + points[index + 1 :]:
            above = above * other % PRIME
            below = below * (other - x) % PRIME
        weights.append(above * pow(below, -1, PRIME) % PRIME)
    return np.array(weights, dtype=np.int64)
