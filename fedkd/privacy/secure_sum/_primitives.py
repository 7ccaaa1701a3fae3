"""The cryptographic primitives, all from the library cryptography."""

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedkd.privacy.secure_sum._errors import ProtocolError
from fedkd.privacy.secure_sum.fixed_point import Words

KEY_BYTES = 32
TAG_BYTES = 16


def derive(secret: bytes, info: bytes) -> bytes:
    """A key of 32 bytes from a secret, for the one use that ``info`` names (HKDF-SHA256, RFC 5869)."""
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)


def keystream(key: bytes, count: int) -> bytes:
    """Pseudo-random bytes from a key that is used for nothing else (ChaCha20, RFC 8439)."""
    return Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(count))


def mask(key: bytes, size: int) -> Words:
    """``size`` pseudo-random words."""
    return np.frombuffer(keystream(key, 4 * size), dtype="<u4").astype(np.uint32, copy=False)


def public_key(private: bytes) -> bytes:
    """What belongs to a private key of X25519."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: bytes, public: bytes) -> bytes:
    """The secret of two parties (X25519, RFC 7748); raises ``ProtocolError`` for a public key that gives none."""
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise ProtocolError(f"a public key is unusable ({error})") from error


def seal(key: bytes, content: bytes, label: bytes) -> bytes:
    """Encrypt and authenticate, under a key that seals nothing else (ChaCha20-Poly1305), so that a fixed nonce does."""
    return ChaCha20Poly1305(key).encrypt(bytes(12), content, label)


def unseal(key: bytes, sealed: bytes, label: bytes) -> bytes | None:
    """The content; None when it is not what was sealed under this key and label."""
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), sealed, label)
    except InvalidTag:
        return None
