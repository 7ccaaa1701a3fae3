"""Checkpoints: files that say themselves whether they are whole."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from fedkd.config.identity import FREE_KEYS, ROUNDS, differences, divided_budgets, shown
from fedkd.core.documents import first_fault
from fedkd.core.errors import FolderError, RunError
from fedkd.core.sealed import load_sealed, save_sealed
from fedkd.results.logs import LogName, LogState
from fedkd.results.totals import Totals

FORMAT = 3
"""Version of the format; a checkpoint of another one is refused."""

_NAME = re.compile(r"round_(\d{5,9})\.pt")
_ARRAY, _SCALAR = "numpy array", "numpy scalar"


@dataclass(frozen=True)
class Origin:
    """What a round was computed with, beside the configuration.

    The ``versions`` of packages, the type of ``cpu`` (the instructions that torch uses), and the SHA-256 of what the
    configuration only names: initial weights and data.
    """

    versions: dict[str, str] = field(default_factory=dict)
    cpu: str = ""
    contents: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """What a run goes on from, but for the server's state.

    ``logs`` are the logs as they were before the last round's lines were added, and ``lines`` are these lines.
    ``config`` is the resolved configuration. ``states`` are the digests of what clients go on from, by client, where
    their files lie in the run directory.
    """

    totals: Totals = field(default_factory=Totals)
    logs: dict[LogName, LogState] = field(default_factory=dict)
    lines: dict[LogName, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    config: dict[str, Any] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """The ``server``'s state after ``record.totals.rounds`` rounds, and all else that a run goes on from."""

    server: Mapping[str, Any]
    record: Record = field(default_factory=Record)

    @property
    def round(self) -> int:
        return self.record.totals.rounds


_RECORD = TypeAdapter(Record)


def checkpoint_path(folder: Path, round: int) -> Path:
    """Where a run directory has the checkpoint of a round."""
    return folder / "checkpoints" / f"round_{round:05d}.pt"


def checkpoint_rounds(folder: Path) -> list[int]:
    """The rounds for which there is a file in the place of a checkpoint, in rising order."""
    names = (_NAME.fullmatch(path.name) for path in (folder / "checkpoints").glob("round_*.pt"))
    rounds = {int(name[1]) for name in names if name is not None}
    return sorted(round for round in rounds if checkpoint_path(folder, round).is_file())


def check_config(path: Path, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
    """Raise ``FolderError`` unless the checkpoint at ``path`` was made by ``config``, but for what may change."""
    free = FREE_KEYS if checkpoint.round > 0 and any(divided_budgets(config)) else FREE_KEYS | {ROUNDS}
    for key, (before, after) in differences(checkpoint.record.config, config).items():
        if key not in free:
            where = path.parent.parent / "config.yaml"
            raise FolderError(f"{path} was made with {key} = {shown(before)}, and {where} has {shown(after)}")


def checkpoint_label(round: int) -> str:
    """What a checkpoint says that it is."""
    return f"checkpoint of round {round}, format {FORMAT}"


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: a sealed file with the server's state, and all else as JSON.

    Raises ``RunError`` when it cannot be written, or the state holds something that is no plain value.
    """
    content = {"server": _plain(checkpoint.server, "server"), "record": json.dumps(asdict(checkpoint.record))}
    save_sealed(path, content, checkpoint_label(checkpoint.round))


def load_checkpoint(path: Path, round: int) -> Checkpoint:
    """Read the checkpoint of a round back, with all tensors on the CPU.

    Raises ``FolderError`` for a file that is not as it was written, is that of another round, or in another version's
    format.
    """
    content = load_sealed(path, checkpoint_label(round))
    try:
        record = _RECORD.validate_json(content["record"], strict=True)
        server = _restored(content["server"])
    except (KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{path} is damaged: {first_fault(error)}") from error
    if not isinstance(server, dict) or record.totals.rounds != round:
        raise FolderError(f"{path} is damaged: it holds no server's state after round {round}")
    return Checkpoint(server, record)


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
