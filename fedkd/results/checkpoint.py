"""Checkpoints: files that say themselves whether they are whole."""

import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedkd.core.errors import RunError
from fedkd.core.files import replace_file
from fedkd.results.totals import Totals

FORMAT = 1
"""Version of the format; a checkpoint of another one is refused."""

_SEAL = re.compile(rb"\nfedkd checkpoint (\d+) sha256 ([0-9a-f]{64})\n\Z")
_SEAL_BYTES = 128
"""No seal is longer."""
_ARRAY, _SCALAR = "numpy array", "numpy scalar"


class DamagedError(RunError):
    """A checkpoint that is not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run goes on from.

    ``server`` is the server's state after ``totals.rounds`` rounds. ``sizes`` are those of the logs, in bytes, before
    the last round's lines were added, and ``lines`` are these lines, by file name. ``versions`` are those of the
    packages that computed it.
    """

    server: Mapping[str, Any]
    totals: Totals
    sizes: Mapping[str, int]
    lines: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def round(self) -> int:
        return self.totals.rounds


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    The file is what ``torch.save`` writes of plain values and tensors, so ``torch.load(path, weights_only=True)`` reads
    it, followed by a line with the format's version and the SHA-256 digest of everything before.

    Raises ``RunError`` when it cannot be written, or the state holds something that is no plain value.
    """
    content = {
        "server": _plain(checkpoint.server, "server"),
        "tally": checkpoint.totals.to_json(),
        "sizes": dict(checkpoint.sizes),
        "lines": dict(checkpoint.lines),
        "versions": dict(checkpoint.versions),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    payload = buffer.getvalue()
    seal = f"\nfedkd checkpoint {FORMAT} sha256 {hashlib.sha256(payload).hexdigest()}\n"
    replace_file(path, payload + seal.encode())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back, with all tensors on the CPU.

    Raises ``DamagedError`` for a file that is not as it was written, and ``RunError`` for one that cannot be read or is
    in another version's format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error})") from error
    seal = _SEAL.search(content, max(0, len(content) - _SEAL_BYTES))
    if seal is None:
        raise DamagedError(f"{path} is damaged: its end is missing")
    payload = content[: seal.start()]
    if hashlib.sha256(payload).hexdigest() != seal[2].decode():
        raise DamagedError(f"{path} is damaged: its content does not have the digest it was written with")
    if int(seal[1]) != FORMAT:
        raise RunError(
            f"{path} is in format {int(seal[1])} and this version of fedkd reads {FORMAT}; go on with the version that "
            "wrote it, or start a new run"
        )
    raw = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return Checkpoint(
        _restored(raw["server"]), Totals.from_json(raw["tally"]), raw["sizes"], raw["lines"], raw["versions"]
    )


def _plain(value: Any, path: str) -> Any:
    """``value`` with what a safe reader refuses, NumPy's arrays and numbers, as marked tensors."""
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.kind not in "biufc":
            raise RunError(f"checkpoint: {path} is an array of {value.dtype}, which cannot be kept; use numbers")
        # Contiguous, without making an array of one element of a scalar.
        tensor = torch.from_numpy(np.array(value, order="C"))
        return {_ARRAY if isinstance(value, np.ndarray) else _SCALAR: tensor}
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {_plain(key, f"{path} (a key)"): _plain(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item, f"{path}.{index}") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    raise RunError(
        f"checkpoint: {path} is a {type(value).__name__}, which cannot be kept; a state_dict may hold tensors, arrays, "
        "numbers, text, None, and lists, tuples and dictionaries of these"
    )


def _restored(value: Any) -> Any:
    """What ``_plain`` was given."""
    if isinstance(value, dict):
        if len(value) == 1:
            if _ARRAY in value:
                return value[_ARRAY].numpy()
            if _SCALAR in value:
                return value[_SCALAR].numpy()[()]
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return tuple(_restored(item) for item in value) if isinstance(value, tuple) else value
