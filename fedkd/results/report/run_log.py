"""Reads back what a run wrote, finished or not."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from fedkd.config.identity import run_digest
from fedkd.config.load import read_yaml
from fedkd.core.documents import first_fault, parse_json
from fedkd.core.errors import ConfigError, FolderError
from fedkd.core.files import reading
from fedkd.results.checkpoint import check_config, checkpoint_path, checkpoint_rounds, load_checkpoint
from fedkd.results.logs import BY_CLASS, TIMINGS, RunLogs
from fedkd.results.records import RoundRecord
from fedkd.results.summary_file import SUMMARY, read_summary

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Timing:
    """A line of ``timings.jsonl``."""

    round: int
    seconds: float


_ROUND, _TIMING = TypeAdapter(RoundRecord), TypeAdapter(_Timing)


@dataclass(frozen=True)
class StepLog:
    """``distillation.csv`` by column; NaN where a cell is blank, is no number, or has no column.

    ``by_class`` has the columns that hold a number per class, ``[rows, classes]``; without classes where there are
    none.
    """

    columns: Mapping[str, Numbers]
    length: int
    by_class: Mapping[str, Numbers]

    def __getitem__(self, name: str) -> Numbers:
        return self.columns[name] if name in self.columns else np.full(self.length, np.nan)

    @property
    def round_starts(self) -> dict[int, int]:
        """Where each round's first row is."""
        rounds, places = np.unique(self["round"], return_index=True)
        return {int(round): int(index) for round, index in zip(rounds, places, strict=True)}


@dataclass(frozen=True)
class RunLog:
    """A run directory, read.

    ``config`` is the resolved configuration as nested mappings and ``config_text`` the same as its file has it;
    ``rounds`` the rows of ``rounds.jsonl``; ``seconds`` each round's wall time; ``summary`` is None while the run is
    not finished. ``remark`` says what of it was lost, if anything.
    """

    path: Path
    config: Mapping[str, Any]
    config_text: str
    rounds: tuple[Mapping[str, Any], ...]
    seconds: Mapping[int, float]
    summary: Mapping[str, Any] | None
    remark: str | None = None

    @cached_property
    def steps(self) -> StepLog:
        """``distillation.csv``, read when it is first asked for."""
        return read_steps(self.path / "distillation.csv")

    @classmethod
    def read(cls, path: Path) -> "RunLog":
        """The run in the folder ``path``.

        Raises ``FolderError`` when the folder holds no run, or one of its files is not as the run wrote it. A last line
        that an interruption cut short is no damage.
        """
        if not holds_run(path):
            raise FolderError(
                f"{path} holds no run (config.yaml and rounds.jsonl); name a folder that `fedkd run` has written"
            )
        text, config = _config(path / "config.yaml")
        found = read_summary(path, run_digest(config))
        if found is None:
            _check_unfinished(path, config)
        rounds = _numbered(path / "rounds.jsonl", _ROUND)
        seconds, remark = _seconds(path / TIMINGS, len(rounds))
        log = cls(
            path=path,
            config=config,
            config_text=text,
            rounds=rounds,
            seconds=seconds,
            remark=remark,
            summary=None if found is None else found[1],
        )
        log._check_agreement()
        return log

    def _check_agreement(self) -> None:
        """Raise ``FolderError`` where the result is not that of the configuration and of the last round."""
        if self.summary is None:
            return
        last = self.rounds[-1]["student_accuracy"] if self.rounds else None
        for name, expected, where in (
            ("rounds", self.at("rounds"), "config.yaml"),
            ("rounds", len(self.rounds), "rounds.jsonl"),
            ("student_accuracy", last, "rounds.jsonl"),
        ):
            if self.summary[name] != expected:
                raise FolderError(
                    f"{self.path / SUMMARY} has {name} = {self.summary[name]}, and {self.path / where} has {expected}; "
                    f"go on with fedkd run --resume --out {self.path}"
                )

    def at(self, path: str) -> Any:
        """The configured value at a dotted path; None where there is none."""
        value: Any = self.config
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value


def holds_run(path: Path) -> bool:
    """Whether a run has written into the folder, be it that one of its files is missing now."""
    with reading(path):
        begun = any((path / name).exists() for name in (SUMMARY, "checkpoints"))
        return (path / "rounds.jsonl").is_file() or (begun and (path / "config.yaml").is_file())


def _config(path: Path) -> tuple[str, dict[str, Any]]:
    remedy = "put it back as the run wrote it"
    try:
        config = read_yaml(path).content
        text = path.read_text(encoding="utf-8")
    except (OSError, ConfigError) as error:
        raise FolderError(f"{path} cannot be used ({error}); {remedy}") from error
    if not config:
        raise FolderError(f"{path} is empty; {remedy}")
    return text, config


def _numbered(path: Path, kind: TypeAdapter[Any]) -> tuple[Mapping[str, Any], ...]:
    """The lines of a file that has one for every round."""
    records = _lines(path, kind)
    for number, record in enumerate(records, start=1):
        if record["round"] != number:
            raise FolderError(f"{path}: line {number} is of round {record['round']}; put it back from a copy")
    return tuple(records)


def _seconds(path: Path, rounds: int) -> tuple[dict[int, float], str | None]:
    """The wall times by round, and what is wrong where some are missing: nothing that a report should fail for."""
    try:
        found = {row["round"]: row["seconds"] for row in _lines(path, _TIMING)}
    except FolderError as error:
        return {}, f"{error}. The wall times of rounds are left out."
    if len(found) < rounds:
        return found, f"{path} has the wall times of {len(found)} rounds only."
    return found, None


def _lines(path: Path, kind: TypeAdapter[Any]) -> list[dict[str, Any]]:
    """What each line holds; raises ``FolderError`` for one that is not of this kind."""
    lines = _text(path).split("\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                kind.validate_json(line, strict=True)
                rows.append(parse_json(line))
        except ValueError as error:
            if number < len(lines):
                raise FolderError(
                    f"{path}: line {number} is not as a run writes it ({first_fault(error)}); put it back from a copy"
                ) from error
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{path} cannot be read ({error.strerror}); put it back from a copy") from error
    except ValueError as error:
        raise FolderError(f"{path} is damaged: it is no text in UTF-8; put it back from a copy") from error


def _check_unfinished(path: Path, config: Mapping[str, Any]) -> None:
    """Raise ``FolderError`` where the logs or the configuration are not those that the newest checkpoint knows."""
    for round in reversed(checkpoint_rounds(path)):
        file = checkpoint_path(path, round)
        try:
            checkpoint = load_checkpoint(file, round)
        except FolderError:
            continue  # whoever goes on with the run is told
        try:
            check_config(file, checkpoint, config)
            RunLogs(path).check_lines(checkpoint.record.logs, checkpoint.record.lines)
        except FolderError as error:
            raise FolderError(
                f"{error}; put it back as it was, or try fedkd run --resume --out {path}, which mends the newest rounds"
            ) from error
        return


def read_steps(path: Path) -> StepLog:
    """``distillation.csv``, the file at ``path``."""
    try:
        reader = csv.DictReader(io.StringIO(_text(path), newline=""))
        names = list(reader.fieldnames or ())
        rows = list(reader)
    except csv.Error as error:
        raise FolderError(f"{path} is damaged ({error}); put it back from a copy") from error
    if not {"round", "step"} <= set(names):
        raise FolderError(f"{path} is damaged: its heading is missing; put it back from a copy")
    columns = {name: np.array([_number(row[name]) for row in rows], dtype=np.float64) for name in names}
    whole = np.isfinite(columns["round"]) & np.isfinite(columns["step"])
    lists = {name: _lists([row.get(name) or "" for row in rows]) for name in BY_CLASS}
    return StepLog(
        {name: values[whole] for name, values in columns.items()},
        int(whole.sum()),
        {name: values[whole] for name, values in lists.items()},
    )


def _lists(cells: Sequence[str]) -> Numbers:
    """A row of numbers per cell that holds some with semicolons in between; rows of NaN for the others."""
    found = [[_number(part) for part in cell.split(";")] if cell else [] for cell in cells]
    width = max(map(len, found), default=0)
    return np.array([row if len(row) == width else [np.nan] * width for row in found]).reshape(len(found), width)


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return float("nan")
