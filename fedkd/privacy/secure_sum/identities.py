"""Who is who: signing keys that are known before anything starts.

They keep the server from inventing clients, and anybody from speaking in another's name (the public-key infrastructure
of the paper's active model).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedkd.core.seeding import seed_sequence

SIGNATURE_BYTES = 64


class Identity:
    """A client's own signing key (Ed25519), from 32 secret bytes."""

    def __init__(self, secret: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(secret)

    @classmethod
    def seeded(cls, seed: int, client: int) -> "Identity":
        """The one a client has in simulations."""
        state = seed_sequence(seed, client=client, purpose="secure aggregation identity").generate_state(8)
        return cls(state.tobytes())

    @property
    def public(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class Directory:
    """Everybody's public signing keys, by client; ``find`` gives that of a client, or None.

    ``digest`` tells directories apart; it is empty for that of simulations.
    """

    def __init__(self, find: Callable[[int], bytes | None], digest: str = "") -> None:
        self._find = find
        self.digest = digest

    @classmethod
    def of(cls, keys: Mapping[int, bytes]) -> "Directory":
        content = json.dumps([[client, key.hex()] for client, key in sorted(keys.items())])
        return cls(dict(keys).get, hashlib.sha256(content.encode()).hexdigest())

    @classmethod
    def seeded(cls, seed: int) -> "Directory":
        """The one of simulations."""
        return cls(lambda client: _seeded_public(seed, client))

    def verifies(self, client: int, message: bytes, signature: bytes) -> bool:
        """Whether the client signed the message."""
        key = self._find(client)
        if key is None:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@lru_cache(maxsize=65536)
def _seeded_public(seed: int, client: int) -> bytes:
    return Identity.seeded(seed, client).public
