"""Where the noise of differential privacy comes from: at least 128 bits of seed and of state, float64, full tails."""

import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from randomgen import ChaCha
from torch import Tensor

_KEY_BYTES = 32


def seeded_noise(seed: int, *, round: int, client: int, purpose: str, attempt: str) -> np.random.Generator:
    """The noise of a simulation, which repeats: whoever knows the experiment's seed can compute it.

    ``attempt`` names what the noise is for (``fedkd.privacy.ledger``): another attempt draws other noise.
    """
    name = json.dumps([seed, round, client, purpose, attempt]).encode()
    key = int.from_bytes(hashlib.sha256(name).digest(), "big")
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(key, pool_size=_KEY_BYTES // 4)))


def system_noise() -> np.random.Generator:
    """The noise of a real release: ChaCha20 under a key that the operating system draws, and that nobody keeps."""
    return keyed_noise(os.urandom(_KEY_BYTES))


def keyed_noise(key: bytes) -> np.random.Generator:
    """The noise of a real release that may have to be repeated: ChaCha20 under a secret key of 32 bytes."""
    return np.random.Generator(ChaCha(key=int.from_bytes(key, "big"), rounds=20))


def gaussian(shape: Sequence[int], deviation: float, generator: np.random.Generator) -> Float[Tensor, "..."]:
    """N(0, deviation²) in float64. The ziggurat behind it has tails to the end of what 53 bits can tell apart."""
    return torch.from_numpy(generator.standard_normal(tuple(shape))).mul_(deviation)
