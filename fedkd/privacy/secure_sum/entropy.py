"""Where secrets come from."""

import os
from abc import ABC, abstractmethod

from fedkd.core.seeding import seed_sequence
from fedkd.privacy.secure_sum._primitives import derive, keystream


class Entropy(ABC):
    """One party's source of secrets in one session."""

    @abstractmethod
    def draw(self, purpose: str, count: int) -> bytes:
        """So many secret bytes for one purpose."""


class SystemEntropy(Entropy):
    """The operating system's generator: what protects anybody."""

    def draw(self, purpose: str, count: int) -> bytes:
        return os.urandom(count)


class SeededEntropy(Entropy):
    """Secrets from an experiment's seed, for simulations that repeat: no secrets from anybody who knows the seed.

    ``session`` counts a client's sessions, so that a round that is begun again does not use its masks twice.
    """

    def __init__(self, seed: int, *, round: int, client: int, session: int) -> None:
        state = seed_sequence(seed, round=round, client=client, purpose="secure aggregation").generate_state(8)
        self._key = derive(state.tobytes(), f"session {session}".encode())

    def draw(self, purpose: str, count: int) -> bytes:
        return keystream(derive(self._key, purpose.encode()), count)
