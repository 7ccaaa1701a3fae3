"""The honest client."""

from dataclasses import dataclass

from fedkd import ClientBehaviour


@dataclass(frozen=True)
class Honest(ClientBehaviour):
    """Does what its rule says, with its true labels."""
