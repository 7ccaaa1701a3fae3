"""``sweep.json`` and ``sweep.csv``: what became of a sweep's cells, and their means over the seeds."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedkd.config.sweep import Cell, value_text
from fedkd.core.files import json_text, replace_file
from fedkd.results.report.comparison import SWEEP_FILE, Group, group_of, in_order
from fedkd.results.report.run_log import RunLog

CSV_FILE = "sweep.csv"


@dataclass(frozen=True)
class CellResult:
    """What became of a cell: ``done``, or an ``error``, or neither yet."""

    cell: Cell
    folder: Path
    done: bool = False
    error: str | None = None

    @property
    def state(self) -> str:
        """``finished``, ``failed`` or ``waiting``."""
        return "finished" if self.done else "failed" if self.error is not None else "waiting"

    @cached_property
    def log(self) -> RunLog | None:
        """The finished run; None for any other."""
        return RunLog.read(self.folder) if self.done else None


@dataclass(frozen=True)
class SweepResult:
    """What became of every cell, in the order of the grid, seeds innermost."""

    cells: tuple[CellResult, ...]

    @property
    def keys(self) -> list[str]:
        """The swept keys, without the seed."""
        return list(self.cells[0].cell.values)

    @property
    def failed(self) -> list[CellResult]:
        """The cells that failed."""
        return [each for each in self.cells if each.error is not None]

    @cached_property
    def groups(self) -> list[tuple[Mapping[str, Any], Group]]:
        """For every combination of values, in the order of the grid: these values, and its finished runs."""
        members: dict[str, list[CellResult]] = {}
        for each in self.cells:
            members.setdefault(json.dumps(each.cell.values, default=str), []).append(each)
        return [
            (
                cells[0].cell.values,
                group_of(
                    {key: value_text(value) for key, value in cells[0].cell.values.items()},
                    [each.log for each in cells if each.log is not None],
                ),
            )
            for cells in members.values()
        ]


def write_sweep(out: Path, result: SweepResult) -> None:
    """Write ``sweep.json`` and ``sweep.csv`` into the folder ``out``; raises ``RunError`` when they cannot be written.

    Accuracies are in per cent; intervals are half-widths of 95 % t intervals, absent for a single seed.
    """
    content: dict[str, Any] = {
        "keys": result.keys,
        "cells": [_cell(each) for each in result.cells],
        "groups": [
            {
                "values": values,
                "seeds": list(group.runs),
                "measures": {name: asdict(found) for name in group.measures if (found := group.estimate(name))},
            }
            for values, group in result.groups
        ],
        "versions": next((each.log.summary["versions"] for each in result.cells if each.log and each.log.summary), {}),
    }
    text = json_text(content, indent=1, ensure_ascii=False, default=str)
    replace_file(out / SWEEP_FILE, f"{text}\n".encode())
    table = io.StringIO(newline="")
    csv.writer(table).writerows(_rows(result))
    replace_file(out / CSV_FILE, table.getvalue().encode())


def _cell(each: CellResult) -> dict[str, Any]:
    found: dict[str, Any] = {
        "folder": each.cell.name,
        "values": each.cell.values,
        "seed": each.cell.config.seed,
        "state": each.state,
        "error": each.error,
    }
    if each.log is not None and each.log.summary is not None:
        alone = group_of({}, [each.log])
        found["measures"] = {name: by_seed[each.cell.config.seed] for name, by_seed in alone.measures.items()}
        found["student_sha256"] = each.log.summary["student_sha256"]
    return found


def _rows(result: SweepResult) -> Iterator[Sequence[object]]:
    """A row per cell; after a measure's value, its mean over the seeds of the same values and that mean's interval."""
    names = in_order(name for _, group in result.groups for name in group.measures)
    yield [
        *result.keys,
        "seed",
        "state",
        *(column for name in names for column in (name, f"{name}_mean", f"{name}_ci95")),
        "student_sha256",
        "folder",
    ]
    groups = {json.dumps(values, default=str): group for values, group in result.groups}
    for each in result.cells:
        group, seed = groups[json.dumps(each.cell.values, default=str)], each.cell.config.seed
        figures: list[object] = []
        for name in names:
            found = group.estimate(name)
            figures += [
                group.by_seed(name).get(seed, ""),
                "" if found is None else found.mean,
                "" if found is None or found.ci95 is None else found.ci95,
            ]
        summary = None if each.log is None else each.log.summary
        digest = "" if summary is None else summary["student_sha256"]
        values = [value_text(value) for value in each.cell.values.values()]
        yield [*values, seed, each.state, *figures, digest or "", each.cell.name]
