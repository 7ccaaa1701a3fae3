"""The directory that a run writes, and how it stays whole.

How a round is committed. A round is finished when the file ``checkpoints/round_N.pt`` has its name: one atomic rename,
after its content is on disk. That file holds the server's state, everything the summary needs, the sizes and digests of
the logs before the round, and the lines that the round adds to them. So:

1. the checkpoint is written under another name, brought to disk, and renamed: the commit point;
2. the round's lines are added to the logs and brought to disk;
3. checkpoints older than the newest two are removed.

A crash before the end of 1 loses the round that was going on, and nothing else. After it, whatever the logs hold of the
round, none of it, a part or all, resuming cuts them back to the bytes that the checkpoint names and adds its lines: the
same bytes as without the crash. Logs of earlier rounds were on disk before the checkpoint was. If the newest checkpoint
cannot be used, because it is damaged, or is not of this run, or the logs or the clients' files are not those that it
knows, the one before cuts the logs further back, and its successor's round is done again.

Everything else is one atomic replacement. ``config.yaml`` is written first: a folder without it holds no run.
``privacy_ledger.json``, where something is proved, is replaced before a round's clients are asked: what it was charged
stays charged. ``controls.json`` is replaced as each control ends. ``summary.json`` comes last: a run is finished when
it is there, for as many rounds as are asked for. These three say which run they belong to, and whether they are as they
were written (``fedkd.core.documents``). What clients keep between rounds says whose and which round's it is, and a
client that does a round again ignores what is not older than it (``fedkd.client.state``).

Names that are read from files are never paths: every file that is opened has a name that stands here.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from fedkd.config.identity import differences, run_digest, settled, shown
from fedkd.config.load import app_fault, parse_config, read_yaml, to_mapping
from fedkd.config.schema import ExperimentConfig
from fedkd.config.strict_yaml import dump_yaml
from fedkd.core.documents import first_fault, read_document, write_document
from fedkd.core.errors import ConfigError, FolderError, RunError
from fedkd.core.files import PARTIAL, reading, replace_file, writing
from fedkd.core.sealed import seal_of
from fedkd.privacy.ledger import PrivacyLedger
from fedkd.results.checkpoint import (
    Checkpoint,
    Origin,
    Record,
    check_config,
    checkpoint_label,
    checkpoint_path,
    checkpoint_rounds,
    load_checkpoint,
    save_checkpoint,
)
from fedkd.results.lock import LOCK_FILE
from fedkd.results.logs import LogName, RunLogs
from fedkd.results.records import Summary
from fedkd.results.summary_file import SUMMARY, read_summary, write_summary
from fedkd.results.totals import Totals

AUDIT = "audit.json"
"""What an audit of the run found; see ``fedkd.audit``."""

CHECKPOINTS_KEPT = 2
_CONFIG, _CONTROLS, _LEDGER = "config.yaml", "controls.json", "privacy_ledger.json"
_GOING_BACK = "; going back to the checkpoint before it"
_AGAIN = "controls are computed again where they are needed"

Notice = Callable[[str], None]
"""Takes a sentence that the user should read."""


@dataclass(frozen=True)
class ControlResult:
    """A finished control: its test accuracies by round, public_only's on the validation samples, and its wall time."""

    history: list[float]
    validation_accuracy: float | None = None
    seconds: float = 0.0


_FINISHED_CONTROLS = TypeAdapter(dict[str, ControlResult])


class RunDirectory:
    """Files of one run; every finished round is on disk before the next begins. See the module for the order of writes.

    ``config`` is the run's configuration, where it is known from elsewhere than its file. One process at a time may use
    it: callers hold ``fedkd.results.lock.locked``. Every method that writes raises ``RunError`` when it cannot.
    """

    def __init__(self, path: Path, config: ExperimentConfig | None = None) -> None:
        self.path = path
        self._known = config
        self._logs = RunLogs(path)

    @classmethod
    def create(cls, path: Path, config: ExperimentConfig) -> "RunDirectory":
        """A new run directory holding the resolved config; raises ``RunError`` when ``path`` already holds a run."""
        if cls.holds_run(path):
            raise RunError(
                f"{path} already holds a run; resume it with --resume, choose another folder with --out, or remove it"
            )
        directory = cls(path, config)
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
        with reading(path):
            return (path / _CONFIG).is_file() or (path / "rounds.jsonl").is_file()

    @staticmethod
    def is_free(path: Path) -> bool:
        """Whether a new run would have the folder for itself."""
        with reading(path):
            if not path.exists():
                return True
            leftovers = {LOCK_FILE, _CONFIG + PARTIAL}
            return path.is_dir() and all(entry.name in leftovers for entry in path.iterdir())

    @property
    def client_state(self) -> Path:
        """Where simulated clients keep what they need between rounds."""
        return self.path / "client_state"

    @property
    def has_config(self) -> bool:
        """Whether the config's file is there."""
        return (self.path / _CONFIG).exists()

    @property
    def config(self) -> ExperimentConfig:
        """The run's config; raises ``FolderError`` when its file is damaged."""
        if self._known is not None:
            return self._known
        path = self.path / _CONFIG
        remedy = (
            "put it back as the run wrote it, or remove it and name the run's configuration: "
            f"fedkd run CONFIG --resume --out {self.path}"
        )
        try:
            found = read_yaml(path).content
            if (fault := app_fault(found)) is not None:
                raise FolderError(f"{path}: {fault}")
            config = parse_config(found)
        except ConfigError as error:
            raise FolderError(f"{path} cannot be used ({error}); {remedy}") from error
        # A key that was not there yet held what is usual.
        for key, (before, after) in differences(settled(found), settled(to_mapping(config))).items():
            raise FolderError(
                f"{path} is not as the run wrote it: {key} is {shown(before)}, which is taken for {shown(after)}; "
                f"{remedy}"
            )
        self._known = config
        return config

    def check_config(self) -> None:
        """Raise ``FolderError`` where none of the checkpoints that can be read was made by the config in its file."""
        faults = []
        for round in reversed(checkpoint_rounds(self.path)):
            path = checkpoint_path(self.path, round)
            with suppress(FolderError):
                checkpoint = load_checkpoint(path, round)
                try:
                    check_config(path, checkpoint, to_mapping(self.config))
                except FolderError as error:
                    faults.append(f"{error}; put that back")
                else:
                    return
        if faults:
            raise FolderError(faults[0])

    @property
    def summary(self) -> Summary | None:
        """The result, once the run is finished.

        Raises ``FolderError`` when its file is damaged or belongs to another run, or when the logs are not those that
        it sums up.
        """
        found = read_summary(self.path, self._run)
        return None if found is None else found[0]

    def result(self, config: ExperimentConfig, notice: Notice) -> Summary | None:
        """The result of a run that has nothing left to do for ``config``; None for any other.

        What is damaged and made again by going on is noticed. Raises ``FolderError`` for what cannot be made again.
        """
        try:
            summary = self.summary
        except FolderError as error:
            notice(str(error))
            return None
        if summary is None or summary.rounds != config.rounds or self.config.controls != config.controls:
            return None
        if summary.epsilon is not None and self.ledger is None:
            raise self._no_ledger()
        self.controls(summary.rounds, notice)
        for round in checkpoint_rounds(self.path):
            try:
                self.checkpoint(round)
            except FolderError as error:
                notice(f"{error}; the result is whole, and only more rounds would need it")
        return summary

    @property
    def rounds_done(self) -> int:
        """How many rounds have a checkpoint."""
        seals = {round: seal_of(checkpoint_path(self.path, round)) for round in checkpoint_rounds(self.path)}
        return max((round for round, seal in seals.items() if seal and seal[0] == checkpoint_label(round)), default=0)

    def write_config(self, config: ExperimentConfig) -> None:
        """Write the resolved config."""
        replace_file(self.path / _CONFIG, dump_yaml(to_mapping(config)).encode())
        self._known = config

    def begin(self) -> None:
        """Get ready for the first round."""
        with writing(self.path):
            (self.path / "checkpoints").mkdir(exist_ok=True)
        self._logs.begin()

    def resume_from(
        self,
        rounds: int,
        notice: Notice,
        fits: Callable[[Checkpoint], None] = lambda checkpoint: None,
        *,
        probe: bool = True,
    ) -> Checkpoint | None:
        """The checkpoint to go on from, with the logs as they were then; None when there is none and all begins anew.

        One that cannot be used is passed over, with a notice: because it is damaged or of another run, because the logs
        are not those that it knows, or because ``fits`` raises ``FolderError``. So is, with ``probe``, that of the last
        of ``rounds`` rounds if clients were not measured on the test set then: it was not the last, or nothing asked
        for that. Raises ``FolderError``, and touches nothing, when there are checkpoints and none can be used, or there
        are none and rounds were done.
        """
        faults = []
        for round in reversed(checkpoint_rounds(self.path)):
            try:
                checkpoint = self.checkpoint(round)
                if probe and round == rounds and not checkpoint.record.totals.probed:
                    faults.append(f"round {rounds} is done again: as the last one it is measured on the test set")
                    continue
                self._logs.check(checkpoint.record.logs)
                fits(checkpoint)
            except FolderError as error:
                faults.append(f"{error}{_GOING_BACK}")
                continue
            for fault in faults:
                notice(fault)
            self._remove_leftovers()
            if (lost := self._logs.resume_from(checkpoint.record.logs, checkpoint.record.lines)) is not None:
                notice(lost)
            self._prune(round)
            return checkpoint
        if faults or self._logs.begun or (self.path / _CONTROLS).exists():
            reasons = "; ".join(dict.fromkeys(fault.removesuffix(_GOING_BACK) for fault in faults))
            raise FolderError(
                f"{self.path} cannot be resumed: {reasons or 'its checkpoints are missing'}; put what is damaged or "
                "missing back from a copy, or start a new run with another --out"
            )
        self._remove_leftovers()
        self.begin()
        return None

    def checkpoint(self, round: int) -> Checkpoint:
        """The checkpoint of a round; raises ``FolderError`` for one that is damaged or of another run."""
        path = checkpoint_path(self.path, round)
        checkpoint = load_checkpoint(path, round)
        check_config(path, checkpoint, to_mapping(self.config))
        return checkpoint

    def commit(
        self,
        server: Mapping[str, Any],
        totals: Totals,
        origin: Origin,
        lines: Mapping[LogName, str] | None = None,
        states: Mapping[int, str] | None = None,
    ) -> None:
        """Make a round final: its checkpoint first, then its ``lines`` in the logs (none before the first round)."""
        record = Record(
            totals, self._logs.states, dict(lines or {}), origin, to_mapping(self.config), dict(states or {})
        )
        save_checkpoint(checkpoint_path(self.path, totals.rounds), Checkpoint(server, record))
        self._logs.add(record.lines)
        self._prune(totals.rounds)

    def controls(self, rounds: int, notice: Notice) -> dict[str, ControlResult]:
        """The finished controls of a run of so many rounds, by name; what is damaged is noticed, and left out."""
        path = self.path / _CONTROLS
        if not path.exists():
            return {}
        try:
            kept = read_document(path, self._run, _AGAIN)
            if kept["rounds"] != rounds:
                return {}
            return _FINISHED_CONTROLS.validate_json(json.dumps(kept["finished"]), strict=True)
        except FolderError as error:
            notice(str(error))
        except (KeyError, ValueError) as error:
            notice(f"{path} is damaged ({first_fault(error)}); {_AGAIN}")
        return {}

    def save_controls(self, rounds: int, finished: Mapping[str, ControlResult]) -> None:
        """Keep the controls that have ended."""
        content = {"rounds": rounds, "finished": {name: asdict(result) for name, result in finished.items()}}
        write_document(self.path / _CONTROLS, content, self._run)

    @property
    def ledger(self) -> dict[str, Any] | None:
        """What the privacy ledger was charged; None where it never was. Raises ``FolderError`` when it is damaged."""
        path = self.path / _LEDGER
        if not path.exists():
            return None
        remedy = "put it back as the run wrote it, for it says what rounds cost"
        state = read_document(path, self._run, remedy)
        try:
            PrivacyLedger().load_state_dict(state)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FolderError(f"{path} is damaged ({first_fault(error)}); {remedy}") from error
        return state

    def charges(self, *, private: bool) -> dict[str, Any] | None:
        """As ``ledger``, which has to be there from the first checkpoint of a ``private`` run on."""
        state = self.ledger
        if state is None and private and checkpoint_rounds(self.path):
            raise self._no_ledger()
        return state

    def save_ledger(self, state: Mapping[str, Any]) -> None:
        """Keep the state of the privacy ledger, on disk on return."""
        write_document(self.path / _LEDGER, state, self._run)

    def finish(self, summary: Summary) -> None:
        """Write ``summary.json``."""
        write_summary(self.path, summary, self._logs.states, self._run)

    def is_audited(self, notice: Notice) -> bool:
        """Whether there is the result of an audit; one that is damaged is noticed."""
        if not (self.path / AUDIT).exists():
            return False
        try:
            read_document(self.path / AUDIT, self._run, "the audit is repeated")
        except FolderError as error:
            notice(str(error))
            return False
        return True

    def save_audit(self, content: Mapping[str, Any]) -> None:
        """Keep what an audit found."""
        write_document(self.path / AUDIT, content, self._run)

    def unfinish(self) -> None:
        """Remove ``summary.json``, if there is one, from a run that goes on."""
        with writing(self.path / SUMMARY):
            (self.path / SUMMARY).unlink(missing_ok=True)

    @cached_property
    def _run(self) -> str:
        return run_digest(to_mapping(self.config))

    def _no_ledger(self) -> FolderError:
        return FolderError(
            f"{self.path / _LEDGER} is missing, and it says what rounds that were begun cost of each client's privacy; "
            "put it back from a copy, or start a new run with another --out"
        )

    def _remove_leftovers(self) -> None:
        """Remove what crashes left of files that were being written."""
        with writing(self.path):
            for folder in (self.path, self.path / "checkpoints", *self.client_state.glob("*")):
                for leftover in folder.glob(f"*{PARTIAL}"):
                    leftover.unlink(missing_ok=True)

    def _prune(self, round: int) -> None:
        """Remove the checkpoints that those of ``round`` and of the round before it make superfluous."""
        earlier = [number for number in checkpoint_rounds(self.path) if number <= round]
        for old in earlier[:-CHECKPOINTS_KEPT]:
            path = checkpoint_path(self.path, old)
            with writing(path):
                path.unlink()
