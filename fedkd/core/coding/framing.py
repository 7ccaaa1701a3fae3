"""The frame of a message: what its first bytes say before the codes follow.

flags (1 byte) · fingerprint of the codes it differs from (4 bytes, only of differences) · mask (one bit a sample,
filled up to bytes, only when somebody is left out) · the codes of the samples in the mask
"""

import zlib
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from jaxtyping import Bool, UInt

_FINGERPRINT_BYTES = 4


class Flag(IntFlag):
    """What a message contains beside plain codes."""

    MASK = 1
    DELTA = 2
    COMPRESSED = 4


_ALL_FLAGS = Flag.MASK | Flag.DELTA | Flag.COMPRESSED


@dataclass(frozen=True)
class Frame:
    """A message taken apart; ``fingerprint`` is None unless it holds differences."""

    flags: Flag
    sent: Bool[np.ndarray, " samples"]
    body: bytes
    fingerprint: bytes | None = None

    def to_bytes(self) -> bytes:
        """The message; an all-true mask is left out, as if there were none."""
        flags = self.flags if self.sent.all() else self.flags | Flag.MASK
        mask = np.packbits(self.sent).tobytes() if Flag.MASK in flags else b""
        return bytes([flags]) + (self.fingerprint or b"") + mask + self.body

    @classmethod
    def from_bytes(cls, data: bytes, samples: int) -> "Frame":
        """The inverse of ``to_bytes``; raises ``ValueError`` for bytes that it does not make."""
        if not data:
            raise ValueError("it is empty")
        if data[0] & ~int(_ALL_FLAGS):
            raise ValueError(f"its first byte is {data[0]}, which no codec writes")
        flags, rest = Flag(data[0]), data[1:]
        fingerprint = None
        if Flag.DELTA in flags:
            fingerprint, rest = rest[:_FINGERPRINT_BYTES], rest[_FINGERPRINT_BYTES:]
        if Flag.MASK not in flags:
            return cls(flags, np.ones(samples, np.bool_), rest, fingerprint)
        size = (samples + 7) // 8
        if len(rest) < size:
            raise ValueError(f"its mask of {samples} samples takes {size} bytes, {len(rest)} are left")
        bits = np.unpackbits(np.frombuffer(rest[:size], np.uint8)).astype(np.bool_)
        sent = bits[:samples]
        if bits[samples:].any() or sent.all():
            raise ValueError("its mask has bits set after the last sample, or leaves nobody out")
        return cls(flags, sent, rest[size:], fingerprint)


def fingerprint(codes: UInt[np.ndarray, "rows columns"]) -> bytes:
    """CRC-32 of codes, by which the two ends notice that they do not take differences from the same ones."""
    little_endian = codes.astype(codes.dtype.newbyteorder("<"), copy=False)
    return zlib.crc32(little_endian.tobytes()).to_bytes(_FINGERPRINT_BYTES, "little")
