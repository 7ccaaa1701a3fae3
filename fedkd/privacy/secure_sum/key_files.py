"""Signing keys as files: a private half for each client, on its node alone, and all public halves in one directory.

The private ones are made on the node, from the operating system's randomness, and never leave it. Operators exchange
the public ones beforehand, by a way that the server has no hand in, and give every node the same directory.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from fedkd.core.errors import RunError
from fedkd.core.files import replace_file, writing
from fedkd.privacy.secure_sum.entropy import SystemEntropy
from fedkd.privacy.secure_sum.identities import Identity

SECRET_BYTES = 32

_DIGITS = re.compile(r"[0-9a-f]{64}")
_CLIENT = re.compile(r"0|[1-9][0-9]{0,4}")


def key_path(folder: Path, client: int) -> Path:
    """Where a client's private key is."""
    return folder / f"client_{client:06d}.key"


def make_keys(folder: Path, clients: Iterable[int]) -> dict[int, bytes]:
    """Make a private key for each of ``clients``, readable by the owner alone, and return the public halves.

    A key that is there is kept. Raises ``RunError`` for one that cannot be used, or when one cannot be written.
    """
    with writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = {}
    for client in clients:
        path = key_path(folder, client)
        if not path.exists():
            secret = SystemEntropy().draw("signing key", SECRET_BYTES)
            replace_file(path, f"{secret.hex()}\n".encode(), mode=0o600)
        found[client] = read_key(folder, client).public
    return found


def read_key(folder: Path, client: int) -> Identity:
    """A client's private key; raises ``RunError`` for one that is missing, damaged, or open to others."""
    path = key_path(folder, client)
    try:
        with path.open("rb") as file:
            mode, text = os.fstat(file.fileno()).st_mode, file.read(100).decode("ascii", errors="replace").strip()
    except OSError as error:
        raise RunError(
            f"{path} cannot be read ({error}); make the keys of this node's clients with fedkd keys make"
        ) from error
    if mode & 0o077:
        raise RunError(f"{path} must be for its owner alone, got mode {mode & 0o777:o}; chmod 600 it, or make new keys")
    if not _DIGITS.fullmatch(text):
        raise RunError(f"{path} must hold 64 hexadecimal digits, and does not; bring back the file, or make new keys")
    return Identity(bytes.fromhex(text))


def write_directory(path: Path, keys: Mapping[int, bytes]) -> None:
    """Write the clients' public keys to a file; raises ``RunError``."""
    lines = {str(client): key.hex() for client, key in sorted(keys.items())}
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(lines, indent=1) + "\n").encode())


def read_directory(path: Path) -> dict[int, bytes]:
    """The clients' public keys; raises ``RunError`` for a file that is not such a directory, with all its faults."""
    try:
        pairs = json.loads(path.read_bytes(), object_pairs_hook=_pairs)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}); make it with fedkd keys join") from error
    if not isinstance(pairs, _Pairs) or not pairs:
        raise RunError(f"{path} must be an object of clients and their public keys; make it with fedkd keys join")
    faults = [
        f"{client!r}: {key!r:.80}"
        for client, key in pairs
        if not (_CLIENT.fullmatch(client) and isinstance(key, str) and _DIGITS.fullmatch(key))
    ]
    if faults:
        raise RunError(
            f"{path}: clients must be numbers from 0 and public keys 64 hexadecimal digits, got "
            f"{'; '.join(faults[:5])}; make it with fedkd keys join"
        )
    return joined((str(path), {int(client): bytes.fromhex(str(key))}) for client, key in pairs)


def joined(directories: Iterable[tuple[str, Mapping[int, bytes]]]) -> dict[int, bytes]:
    """The keys of several directories, each with its name; raises ``RunError`` for a client or a key in two places."""
    found: dict[int, bytes] = {}
    holders: dict[bytes, int] = {}
    for name, keys in directories:
        for client, key in keys.items():
            if client in found:
                raise RunError(f"{name}: client {client} has a key already; give every client one, in one file")
            if key in holders:
                raise RunError(f"{name}: clients {holders[key]} and {client} have the same key; make new ones")
            found[client] = key
            holders[key] = client
    return found


class _Pairs(list[tuple[str, object]]):
    """The members of a JSON object in their order, those that are there twice too."""


def _pairs(members: list[tuple[str, object]]) -> _Pairs:
    return _Pairs(members)
