"""Messages as named arrays, and the signatures that make them their sender's."""

import hashlib
from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fedkd.core.messages import Arrays
from fedkd.privacy.secure_sum._errors import ProtocolError
from fedkd.privacy.secure_sum.identities import SIGNATURE_BYTES, Directory, Identity
from fedkd.privacy.secure_sum.terms import Phase

PREFIX = "secure/"
SIGNATURE = PREFIX + "signature"

MOST_CLIENTS = 65535

_FIELDS: dict[Phase, tuple[str, ...]] = {
    "advertise": ("keys",),
    "share": ("recipients", "sealed", "commitment"),
    "mask": ("masked",),
    "confirm": ("survivors",),
    "unmask": ("secrets", "keys"),
}
"""What clients send in each step, beside the signature."""

Bytes = npt.NDArray[np.uint8]

Number = TypeVar("Number", bound=np.generic)


def named(**arrays: npt.NDArray[np.generic]) -> Arrays:
    """Arrays under the names they have in messages."""
    return {PREFIX + name: array for name, array in arrays.items()}


def digest(arrays: Arrays) -> bytes:
    """SHA-256 over names, types, shapes and contents, all but the signature."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        if name != SIGNATURE:
            array = arrays[name]
            found.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
            found.update(array.tobytes())
    return found.digest()


def signed(arrays: Arrays, identity: Identity, label: bytes) -> Arrays:
    """The message with its sender's signature under ``label``."""
    return {**arrays, SIGNATURE: as_bytes(identity.sign(label + digest(arrays)))}


def check_signature(arrays: Arrays, client: int, directory: Directory, label: bytes) -> None:
    """Raises ``ProtocolError`` unless ``client`` signed exactly this under ``label``."""
    signature = bytes_of(arrays, "signature", (SIGNATURE_BYTES,)).tobytes()
    if not directory.verifies(client, label + digest(arrays), signature):
        raise ProtocolError(f"the signature is not that of client {client} on this message, step, round and run")


def as_bytes(content: bytes) -> Bytes:
    return np.frombuffer(content, dtype=np.uint8)


def ids(clients: Collection[int]) -> npt.NDArray[np.int64]:
    """Client ids, in rising order."""
    return np.array(sorted(clients), dtype=np.int64)


def bytes_of(arrays: Arrays, name: str, shape: tuple[int, ...]) -> Bytes:
    """An array of bytes of a known shape; raises ``ProtocolError`` for anything else."""
    return _array_of(arrays, name, np.uint8, shape)


def words_of(arrays: Arrays, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    """The same for words of 32 bits."""
    return _array_of(arrays, name, np.uint32, shape)


def ids_of(arrays: Arrays, name: str) -> tuple[int, ...]:
    """Client ids; raises ``ProtocolError`` unless they are distinct and in rising order."""
    found = arrays.get(PREFIX + name)
    if not isinstance(found, np.ndarray) or found.dtype != np.int64 or found.ndim != 1 or found.size > MOST_CLIENTS:
        raise ProtocolError(f"the message has no list of {name}")
    if not bool((found[1:] > found[:-1]).all()):
        raise ProtocolError(f"{name} must be distinct clients in rising order")
    return tuple(found.tolist())


def fields_of(message: object, phase: Phase) -> Arrays:
    """A client's answer to a step; raises ``ProtocolError`` for anything but arrays under the names that it has then.

    Their types and shapes are checked where they are read.
    """
    names = {PREFIX + name for name in (*_FIELDS[phase], "signature")}
    if not isinstance(message, dict) or set(message) != names:
        raise ProtocolError(f"a message of the step {phase} must be {', '.join(sorted(names))}, and nothing else")
    if not all(type(array) is np.ndarray for array in message.values()):
        raise ProtocolError(f"a message of the step {phase} must consist of arrays")
    return message


def number(value: int) -> npt.NDArray[np.int64]:
    """A single whole number."""
    return np.array([value], dtype=np.int64)


def number_of(arrays: Arrays, name: str) -> int:
    """A single whole number from 1; raises ``ProtocolError`` for anything else."""
    found = int(_array_of(arrays, name, np.int64, (1,))[0])
    if found < 1:
        raise ProtocolError(f"{name} must be at least 1, got {found}")
    return found


def rows_of(rows: Sequence[bytes], width: int) -> Bytes:
    """Byte strings of one length as rows."""
    return as_bytes(b"".join(rows)).reshape(len(rows), width)


def _array_of(arrays: Arrays, name: str, kind: type[Number], shape: tuple[int, ...]) -> npt.NDArray[Number]:
    found = arrays.get(PREFIX + name)
    if not isinstance(found, np.ndarray):
        raise ProtocolError(f"the message has no {name}")
    if found.dtype != kind or found.shape != shape:
        raise ProtocolError(
            f"{name} must be {np.dtype(kind)} of shape {shape}, got {found.dtype} of shape {found.shape}"
        )
    return found
