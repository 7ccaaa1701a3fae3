"""Random generators derived from the experiment's seed and nothing else.

Every draw in an experiment comes from a generator keyed by ``(seed, round, client, purpose)``, so that results do not
depend on the order, the process or the machine share in which the work is done.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

SERVER = -1
"""The client id used for draws that belong to no client."""


def seed_sequence(seed: int, *, round: int = 0, client: int = SERVER, purpose: str) -> np.random.SeedSequence:
    """The entropy of one purpose; ``client`` may be ``SERVER``, ``purpose`` is hashed with CRC-32."""
    return np.random.SeedSequence((seed, round, client + 1, zlib.crc32(purpose.encode())))


def numpy_generator(seed: int, *, round: int = 0, client: int = SERVER, purpose: str) -> np.random.Generator:
    """A NumPy generator for one (seed, round, client, purpose)."""
    return np.random.default_rng(seed_sequence(seed, round=round, client=client, purpose=purpose))


def torch_generator(seed: int, *, round: int = 0, client: int = SERVER, purpose: str) -> torch.Generator:
    """A CPU torch generator for one (seed, round, client, purpose).

    torch uses 32 bits of its seed, so that of very many generators two may be alike, and its normal numbers end at 5.8
    standard deviations. Neither matters to training; the noise of privacy comes from ``fedkd.privacy.noise``.
    """
    state = seed_sequence(seed, round=round, client=client, purpose=purpose).generate_state(1, np.uint64)[0]
    generator = torch.Generator()
    generator.manual_seed(int(state) & 0x7FFF_FFFF_FFFF_FFFF)
    return generator


@contextmanager
def ambient_randomness(generator: torch.Generator) -> Iterator[None]:
    """Let layers that only know torch's global generator (dropout, stochastic depth) draw from ``generator``.

    The global state is put back on leaving, so nothing outside the block notices.
    """
    # A GPU that nobody has used yet is left alone: asking it for its state would occupy memory on it.
    gpus = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=gpus):
        torch.random.set_rng_state(generator.get_state())
        if gpus:
            torch.cuda.manual_seed(generator.initial_seed())
        yield
