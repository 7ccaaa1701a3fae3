"""Files that say themselves what they are, and whether they are whole.

Tensors and plain values lie in what ``torch.save`` writes, so that ``torch.load(path, weights_only=True)`` reads them;
a line follows such as ``fedkd checkpoint of round 3, format 2 sha256 ...``, whose digest is of all before it. It
reveals damage, files that were mixed up, and careless edits. It is no signature: whoever makes the line anew is not
noticed.
"""

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fedkd.core.errors import FolderError
from fedkd.core.files import replace_file

_SEAL = re.compile(rb"\nfedkd ([ -~]{1,200}) sha256 ([0-9a-f]{64})\n\Z")
_SEAL_BYTES = 300
"""No seal is longer."""


def save_sealed(
    path: Path, content: Mapping[str, Any], label: str, *, durable: bool = True, shared: bool = False
) -> None:
    """Write tensors and plain values atomically; ``label`` says what they are, in at most 200 characters of ASCII.

    ``durable`` and ``shared`` are as in ``replace_file``. Raises ``RunError`` when the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    text = f"\nfedkd {label} sha256 ".encode()
    buffer.write(text)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    buffer.write(f"{digest}\n".encode())
    replace_file(path, buffer.getvalue(), durable=durable, shared=shared)


def load_sealed(path: Path, label: str) -> dict[str, Any]:
    """What ``save_sealed`` wrote under this label, with all tensors on the CPU; nothing in it is executed.

    Raises ``FolderError`` for a file that cannot be read, is not as it was written, or is labelled otherwise.
    """
    payload, _ = _read(path, label)
    try:
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what it likes
        raise FolderError(f"{path} is damaged: it holds no plain values ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise FolderError(f"{path} is damaged: it holds a {type(content).__name__}, no values by name")
    return content


def digest_of(path: Path, label: str) -> str:
    """The digest of a sealed file that is as it was written; raises ``FolderError`` as ``load_sealed`` does."""
    return _read(path, label)[1]


def seal_of(path: Path) -> tuple[str, str] | None:
    """The label and the digest at the end of a sealed file, without a look at the rest; None where there are none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _SEAL_BYTES))
            found = _SEAL.search(file.read())
    except OSError:
        return None
    return None if found is None else (found[1].decode(), found[2].decode())


def _read(path: Path, label: str) -> tuple[memoryview, str]:
    """What stands before the seal, and the digest."""
    try:
        file = path.read_bytes()
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror})") from error
    found = _SEAL.search(file, max(0, len(file) - _SEAL_BYTES))
    if found is None:
        raise FolderError(f"{path} is damaged: its end is missing")
    digest = hashlib.sha256(memoryview(file)[: found.start(2)]).hexdigest()
    if digest != found[2].decode():
        raise FolderError(f"{path} is damaged: its content does not have the digest it was written with")
    if (written := found[1].decode()) != label:
        raise FolderError(f"{path} is not what belongs there: it is the {written}, not the {label}")
    return memoryview(file)[: found.start()], digest
