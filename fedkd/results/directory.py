"""The directory that a run writes, and how it stays whole.

How a round is committed. A round is finished when the file ``checkpoints/round_N.pt`` has its name: one atomic rename,
after its content is on disk. That file holds the server's state, everything the summary needs, the bytes that the logs
had before the round, and the lines that the round adds to them. So:

1. the checkpoint is written under another name, brought to disk, and renamed: the commit point;
2. the round's lines are added to the logs and brought to disk;
3. checkpoints older than the newest two are removed.

A crash before the end of 1 loses the round that was going on, and nothing else. After it, whatever the logs hold of the
round, none of it, a part or all, resuming cuts them back to the bytes that the checkpoint names and adds its lines: the
same bytes as without the crash. Logs of earlier rounds were on disk before the checkpoint was. If the newest checkpoint
is damaged, the one before cuts the logs further back, and its successor's round is done again.

Everything else is one atomic replacement. ``config.yaml`` is written first: a folder without it holds no run.
``privacy_ledger.json``, where something is proved, is replaced before a round's clients are asked: what it was charged
stays charged. ``controls.json`` is replaced as each control ends. ``summary.json`` comes last: a run is finished when
it is there, for as many rounds as are asked for. What clients keep between rounds carries the number of its round, and
a client that does a round again ignores what is not older than it (``fedkd.client.state``).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from fedkd.config.load import parse_config, read_yaml, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.strict_yaml import dump_yaml
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.files import PARTIAL, replace_file, writing
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.results.checkpoint import Checkpoint, DamagedError, load_checkpoint, save_checkpoint
from fedkd.results.lock import LOCK_FILE
from fedkd.results.logs import RunLogs
from fedkd.results.records import Summary
from fedkd.results.totals import Totals

AUDIT = "audit.json"
"""What an audit of the run found; see ``fedkd.audit``."""

CHECKPOINTS_KEPT = 2
_CONFIG, _SUMMARY, _CONTROLS, _LEDGER = "config.yaml", "summary.json", "controls.json", "privacy_ledger.json"

Notice = Callable[[str], None]
"""Takes a sentence that the user should read."""


@dataclass(frozen=True)
class ControlResult:
    """A finished control: its test accuracies by round, public_only's on the validation samples, and its wall time."""

    history: list[float]
    validation_accuracy: float | None = None
    seconds: float = 0.0


class RunDirectory:
    """Files of one run; every finished round is on disk before the next begins. See the module for the order of writes.

    One process at a time may use it: callers hold ``fedkd.results.lock.locked``. Every method that writes raises
    ``RunError`` when it cannot.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._logs = RunLogs(path)

    @classmethod
    def create(cls, path: Path, config: ExperimentConfig) -> "RunDirectory":
        """A new run directory holding the resolved config; raises ``RunError`` when ``path`` already holds a run."""
        if cls.holds_run(path):
            raise RunError(
                f"{path} already holds a run; resume it with --resume, choose another folder with --out, or remove it"
            )
        directory = cls(path)
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        directory.write_config(config)
        directory.begin()
        return directory

    @staticmethod
    def fresh(name: str) -> Path:
        """The first of ``runs/NAME-1``, ``-2`` and so on that is not there yet."""
        number = 1
        while (folder := Path("runs") / f"{name}-{number}").exists():
            number += 1
        return folder

    @staticmethod
    def holds_run(path: Path) -> bool:
        """Whether there is a run, finished or not."""
        return (path / _CONFIG).is_file() or (path / "rounds.jsonl").is_file()

    @staticmethod
    def is_free(path: Path) -> bool:
        """Whether a new run would have the folder for itself."""
        if not path.exists():
            return True
        leftovers = {LOCK_FILE, _CONFIG + PARTIAL}
        return path.is_dir() and all(entry.name in leftovers for entry in path.iterdir())

    @property
    def client_state(self) -> Path:
        """Where simulated clients keep what they need between rounds."""
        return self.path / "client_state"

    @property
    def config(self) -> ExperimentConfig:
        """The run's config; raises ``RunError`` when its file is damaged."""
        path = self.path / _CONFIG
        try:
            return parse_config(read_yaml(path).content)
        except ConfigError as error:
            raise RunError(f"{path} cannot be used ({error}); put it back as the run wrote it") from error

    @property
    def summary(self) -> Summary | None:
        """The result, once the run is finished."""
        try:
            return TypeAdapter(Summary).validate_python(_read_json(self.path / _SUMMARY))
        except (OSError, ValueError):
            return None

    @property
    def rounds_done(self) -> int:
        """How many rounds have a checkpoint."""
        return max((_round_of(path) for path in self._checkpoints()), default=0)

    def write_config(self, config: ExperimentConfig) -> None:
        """Write the resolved config."""
        replace_file(self.path / _CONFIG, dump_yaml(to_mapping(config)).encode())

    def begin(self) -> None:
        """Get ready for the first round."""
        with writing(self.path):
            (self.path / "checkpoints").mkdir(exist_ok=True)
        self._logs.begin()

    def resume_from(self, rounds: int, notice: Notice) -> Checkpoint | None:
        """The checkpoint to go on from, with the logs as they were then; None when there is none and all begins anew.

        A damaged one is passed over, with a notice. So is that of the last of ``rounds`` rounds if it was not the last
        when it was done: what is measured only then is missing. Raises ``RunError`` when there are checkpoints and none
        can be used.
        """
        with writing(self.path):
            for leftover in self.path.rglob(f"*{PARTIAL}"):
                leftover.unlink(missing_ok=True)
        found = sorted(self._checkpoints(), key=_round_of, reverse=True)
        for path in found:
            try:
                checkpoint = load_checkpoint(path)
            except DamagedError as error:
                notice(f"{error}; going back to the checkpoint before it")
                continue
            if checkpoint.round == rounds and not checkpoint.totals.probed:
                notice(f"round {rounds} is done again: as the last one it is measured on the test set")
                continue
            self._logs.resume_from(checkpoint.sizes, checkpoint.lines)
            self._prune(checkpoint.round)
            return checkpoint
        if found:
            names = ", ".join(path.name for path in reversed(found))
            raise RunError(
                f"{self.path} cannot be resumed: none of its checkpoints can be used ({names}); put one back from a "
                "copy, or start a new run with another --out"
            )
        self.begin()
        return None

    def commit(
        self,
        server: Mapping[str, Any],
        totals: Totals,
        versions: Mapping[str, str],
        lines: Mapping[str, str] | None = None,
    ) -> None:
        """Make a round final: its checkpoint first, then its ``lines`` in the logs (none before the first round)."""
        added = {} if lines is None else dict(lines)
        path = self.path / "checkpoints" / f"round_{totals.rounds:05d}.pt"
        save_checkpoint(path, Checkpoint(server, totals, dict(self._logs.sizes), added, versions))
        self._logs.add(added)
        self._prune(totals.rounds)

    def controls(self, rounds: int) -> dict[str, ControlResult]:
        """The finished controls of a run of so many rounds, by name."""
        try:
            kept = _read_json(self.path / _CONTROLS)
            if kept["rounds"] != rounds:
                return {}
            return TypeAdapter(dict[str, ControlResult]).validate_python(kept["finished"])
        except (OSError, ValueError, KeyError, TypeError):
            # Nothing is lost that cannot be computed again.
            return {}

    def save_controls(self, rounds: int, finished: Mapping[str, ControlResult]) -> None:
        """Keep the controls that have ended."""
        content = {"rounds": rounds, "finished": {name: asdict(result) for name, result in finished.items()}}
        replace_file(self.path / _CONTROLS, _json(content))

    @property
    def ledger(self) -> dict[str, Any] | None:
        """What the privacy ledger was charged; None where it never was. Raises ``RunError`` when it is damaged."""
        path = self.path / _LEDGER
        if not path.exists():
            return None
        try:
            state = _read_json(path)
            PrivacyLedger().load_state_dict(state)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} cannot be used ({error}); put it back as the run wrote it") from error
        return dict(state)

    def save_ledger(self, state: Mapping[str, Any]) -> None:
        """Keep the state of the privacy ledger, on disk on return."""
        replace_file(self.path / _LEDGER, _json(state))

    def finish(self, summary: Summary) -> None:
        """Write ``summary.json``."""
        replace_file(self.path / _SUMMARY, _json(asdict(summary)))

    def unfinish(self) -> None:
        """Remove ``summary.json``, if there is one, from a run that goes on."""
        with writing(self.path / _SUMMARY):
            (self.path / _SUMMARY).unlink(missing_ok=True)

    def _prune(self, round: int) -> None:
        """Remove the checkpoints that those of ``round`` and of the round before it make superfluous."""
        earlier = sorted((path for path in self._checkpoints() if _round_of(path) <= round), key=_round_of)
        for old in earlier[:-CHECKPOINTS_KEPT]:
            with writing(old):
                old.unlink()

    def _checkpoints(self) -> list[Path]:
        return list((self.path / "checkpoints").glob("round_*.pt"))


def parameter_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of a model's state, sorted by name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        array = state[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _round_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("round_"))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
