"""Cells of a sweep: an experiment for every combination of some keys' values."""

import copy
import itertools
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from fedkd.config.load import load_config, to_json
from fedkd.config.overrides import check_path, parse_overrides, parse_value
from fedkd.config.schema import ExperimentConfig
from fedkd.config.strict_yaml import YamlError
from fedkd.core.errors import ConfigError
from fedkd.core.wording import cut, shown

Grid = Mapping[str, Sequence[Any]]
"""The values that each key takes in turn, by dotted path."""

SEED = "seed"
MOST_CELLS = 10_000
"""Of a sweep; at a minute a cell, that is a week."""
_LONGEST_NAME = 180
"""Bytes of a folder's name; file systems allow 255."""
_NAMED = 3
"""Of the cells that share a fault, so many are named."""


@dataclass(frozen=True)
class Cell:
    """One experiment of a sweep: its folder's name, its values of the grid without the seed, and its configuration."""

    name: str
    values: Mapping[str, Any]
    config: ExperimentConfig


@dataclass
class CellFaults:
    """What is wrong with the cells, each fault once, with the cells that have it."""

    cells: int
    _found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, cell: str, problems: Iterable[str]) -> None:
        """Note the problems of a cell."""
        for problem in problems:
            self._found.setdefault(problem, []).append(cell)

    def check(self) -> None:
        """Raise ``ConfigError`` if there is any fault."""
        if self._found:
            raise ConfigError([f"{problem}{self._where(cells)}" for problem, cells in self._found.items()])

    def _where(self, cells: Sequence[str]) -> str:
        if len(cells) == self.cells:
            return ""
        more = f" and {len(cells) - _NAMED} more" if len(cells) > _NAMED else ""
        return f" [in {'; '.join(cells[:_NAMED])}{more}]"


def parse_grid(texts: Iterable[str]) -> Grid:
    """The grid of several ``key=a,b,c``; values are YAML, and a comma inside brackets belongs to its value.

    Raises ``ConfigError`` with every fault.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    problems = []
    for text in texts:
        key, _, values = text.partition("=")
        try:
            found = parse_value(f"[{values}]")
        except YamlError as error:
            problems.append(f"--grid {cut(key)}: {shown(values)} is no list of YAML values ({error})")
            continue
        if not key or not found:
            problems.append(
                f"--grid {shown(text)}: is written key.path=value,value,... such as strategy.name=stacked,era"
            )
        elif key in grid:
            problems.append(f"--grid {key}: is given twice, got {shown(values)}; list all values in one")
        else:
            grid[key] = tuple(found)
    if problems:
        raise ConfigError(problems)
    return grid


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds of ``0,1,2``; raises ``ConfigError``."""
    if re.fullmatch(r"\s*[0-9]{1,19}\s*(,\s*[0-9]{1,19}\s*)*", text, re.ASCII) is None:
        raise ConfigError(
            [f"--seeds: must be whole numbers from 0 on, got {shown(text)}; write each of them, as in 0,1,2"]
        )
    return tuple(int(part) for part in text.split(","))


def cells_of(
    source: str | Path | Mapping[str, Any], grid: Grid, seeds: Sequence[int] = (), overrides: Sequence[str] = ()
) -> tuple[list[Cell], CellFaults]:
    """Every combination of the grid's values for every seed, seeds innermost, and what is wrong with the others.

    ``overrides`` hold in all cells. Without ``seeds`` each cell has the configuration's own. Raises ``ConfigError`` for
    what is wrong with the sweep itself: a key that is set twice, a value or a seed that is listed twice, more cells
    than ``MOST_CELLS``, or cells that are the same experiment.
    """
    fixed = parse_overrides(overrides)
    _check_lists(grid, seeds)
    _check_sweep(grid, seeds, fixed)
    axes = dict(grid) | ({SEED: tuple(seeds)} if seeds else {})
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    cells, faults = [], CellFaults(len(points))
    for point in points:
        try:
            config = load_config(source, values=copy.deepcopy(fixed | point))
        except ConfigError as error:
            faults.add(_label(point), error.problems)
            continue
        values = {key: value for key, value in point.items() if key != SEED}
        cells.append(Cell(folder_name(values | {SEED: config.seed}), values, config))
    _check_distinct(cells)
    return cells, faults


def folder_name(values: Mapping[str, Any]) -> str:
    """``strategy.name=stacked,seed=1``: readable, and fit for a file system."""
    exact = ",".join(f"{key}={_compact(value)}" for key, value in values.items())
    name = re.sub(r"[^\w.=,+\-\[\]]", "_", exact)
    if name == exact and len(name.encode()) <= _LONGEST_NAME:
        return name
    # What had to be changed or cut off no longer tells values apart.
    short = name.encode()[: _LONGEST_NAME - 9].decode(errors="ignore")
    return f"{short}~{sha256(exact.encode()).hexdigest()[:8]}"


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else value_text(value).replace('"', "").replace(" ", "")


def value_text(value: Any) -> str:
    """A value as it is shown: text as it is, anything else as in YAML."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _label(values: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={value_text(value)}" for key, value in values.items())


def _check_lists(grid: Grid, seeds: Sequence[int]) -> None:
    if not isinstance(grid, Mapping):
        raise ConfigError([f"--grid: must map keys to lists of values, got {shown(grid)}; write {{'rounds': [1, 2]}}"])
    axes = [*((f"--grid {check_path(str(key))}", values) for key, values in grid.items()), ("--seeds", seeds)]
    problems = [
        f"{name}: must be a list of values, got {shown(values)}; write one, such as [1, 2]"
        for name, values in axes
        if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Collection)
    ]
    if problems:
        raise ConfigError(problems)
    count = math.prod(max(len(values), 1) for _, values in axes)
    if count > MOST_CELLS:
        raise ConfigError([f"--grid: must give at most {MOST_CELLS:,} cells, got {count:,}; sweep over less at a time"])


def _check_sweep(grid: Grid, seeds: Sequence[int], fixed: Mapping[str, Any]) -> None:
    problems = []
    if not grid and not seeds:
        problems.append("--grid: there is nothing to sweep over; give --grid key=value,value or --seeds 0,1,2")
    if SEED in grid:
        problems.append(f"--grid: seeds are given by --seeds, got {SEED}={list(grid[SEED])}; write --seeds 0,1,2")
    problems += [
        f"--grid {key}: needs at least one value, got none; list some"
        for key, values in grid.items()
        if not len(values)
    ]
    for name, values in [*((f"--grid {key}", values) for key, values in grid.items()), ("--seeds", seeds)]:
        twice = [value for index, value in enumerate(values) if value in list(values)[:index]]
        problems += [f"{name}: each value may be listed once, got {value_text(value)} twice" for value in twice]
    swept = [*grid, *([SEED] if seeds else [])]
    for path, value in fixed.items():
        problems += [
            f"{path}: is swept over by {'--seeds' if key == SEED else f'--grid {key}'}, got {value_text(value)}; "
            "leave one of them out"
            for key in swept
            if key == path or key.startswith(f"{path}.")
        ]
    if problems:
        raise ConfigError(problems)


def _check_distinct(cells: Sequence[Cell]) -> None:
    first: dict[str, Cell] = {}
    problems = []
    for cell in cells:
        for identity, same in ((to_json(cell.config), "is the same experiment"), (cell.name, "has the same folder")):
            if (before := first.setdefault(identity, cell)) is not cell:
                problems.append(f"--grid: {cell.name} {same} as {before.name}; leave one of them out")
                break
    if problems:
        raise ConfigError(problems)
