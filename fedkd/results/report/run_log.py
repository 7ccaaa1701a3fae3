"""Reads back what a run wrote, finished or not."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedkd.config.strict_yaml import parse_yaml
from fedkd.core.errors import RunError

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StepLog:
    """``distillation.csv`` by column; NaN where a cell is blank, is no number, or has no column."""

    columns: Mapping[str, Numbers]
    length: int

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
    not finished.
    """

    path: Path
    config: Mapping[str, Any]
    config_text: str
    rounds: tuple[Mapping[str, Any], ...]
    seconds: Mapping[int, float]
    summary: Mapping[str, Any] | None

    @cached_property
    def steps(self) -> StepLog:
        """``distillation.csv``, read when it is first asked for."""
        return _step_log(self.path / "distillation.csv")

    @classmethod
    def read(cls, path: Path) -> "RunLog":
        """The run in the folder ``path``.

        Raises ``RunError`` when the folder holds no run, or one of its files is damaged. A last line that an
        interruption cut short is no damage.
        """
        if not (path / "config.yaml").is_file() or not (path / "rounds.jsonl").is_file():
            raise RunError(
                f"{path} holds no run (config.yaml and rounds.jsonl); name a folder that `fedkd run` has written"
            )
        try:
            text = (path / "config.yaml").read_text(encoding="utf-8")
            config = parse_yaml(text)
            summary_file = path / "summary.json"
            summary = json.loads(summary_file.read_text(encoding="utf-8")) if summary_file.is_file() else None
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: config.yaml or summary.json cannot be read ({error}); run it again") from error
        return cls(
            path=path,
            config=config if isinstance(config, dict) else {},
            config_text=text,
            rounds=_json_lines(path / "rounds.jsonl"),
            seconds={int(row["round"]): float(row["seconds"]) for row in _json_lines(path / "timings.jsonl")},
            summary=summary,
        )

    def at(self, path: str) -> Any:
        """The configured value at a dotted path; None where there is none."""
        value: Any = self.config
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value


def _json_lines(path: Path) -> tuple[Mapping[str, Any], ...]:
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise RunError(f"{path}: line {number} is not valid JSON ({error}); remove it or run again") from error
    return tuple(rows)


def _step_log(path: Path) -> StepLog:
    if not path.is_file():
        return StepLog({}, 0)
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = list(reader.fieldnames or ())
        table = np.array([[_number(row[name]) for name in names] for row in reader], dtype=np.float64)
    table = table.reshape(-1, len(names))
    columns = {name: table[:, index] for index, name in enumerate(names)}
    log = StepLog(columns, len(table))
    whole = np.isfinite(log["round"]) & np.isfinite(log["step"])
    return StepLog({name: values[whole] for name, values in columns.items()}, int(whole.sum()))


def _number(cell: str | None) -> float:
    try:
        return float(cell or "nan")
    except ValueError:
        return float("nan")
