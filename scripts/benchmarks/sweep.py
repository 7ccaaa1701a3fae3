"""A sweep over strategies, balancers and seeds beside the same experiments by ``fedkd run``, one after another.

    python scripts/benchmark.py sweep [--engine inline|ray] [--json]

Both begin without anything kept, on the same cores. ``ratio`` is of wall times, ``cpu_ratio`` of the processor's time,
which says less about a machine's cores and more about what cells share. Ends with an error where a cell's student is
not that of its run bit for bit, or the sweep's table is not what the runs come to.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fedkd.app.sweep import run_sweep
from fedkd.config.sweep import cells_of
from fedkd.results.cache import FOLDER

SETTING: dict[str, Any] = {
    "rounds": 3,
    "data": {
        "dataset": "fashion_mnist",
        "private_size": 6000,
        "partition": {"alpha": 0.3},
        "public": {"size": 1000, "labelled": 250},
    },
    "clients": {"count": 10, "epochs": 5},
    "student": {"model": {"name": "mlp", "hidden": [128]}},
    "distillation": {"steps": 200, "temperature": 2.0},
    "controls": ["public_only", "local_only", "fedavg", "centralised", "teacher_only"],
}
"""Fashion-MNIST, small: ten clients, three rounds, all controls."""

GRID = {
    "strategy.name": ["stacked", "mean_probabilities", "median"],
    "distillation.balancer.name": ["task_decrease", "fixed"],
}
SEEDS = (0, 1, 2)


@dataclass
class Spent:
    """Seconds on the wall, and of the processor."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def measured() -> Iterator[Spent]:
    """What the processes that are started, and end, inside the block take."""
    spent, begun, before = Spent(), time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    yield spent
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent.seconds = time.perf_counter() - begun
    spent.cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fedkd(arguments: Sequence[str], folder: Path) -> None:
    """A command of its own, with a cache of its own."""
    command = [sys.executable, "-c", "from fedkd.app.cli.main import main; main()", *arguments]
    environment = os.environ | {FOLDER: str(folder / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def compared(folder: Path, setting: dict[str, Any], seeds: Sequence[int]) -> dict[str, float]:
    """Both sides in one folder; raises ``SystemExit`` where their results differ."""
    config = folder / "setting.yaml"
    config.write_text(yaml.safe_dump(setting), encoding="utf-8")
    cells, _ = cells_of(config, GRID, seeds)
    with measured() as runs:
        for cell in cells:
            values = [f"{key}={value}" for key, value in cell.values.items()]
            out = folder / "runs" / cell.name
            fedkd(["run", str(config), *values, f"seed={cell.config.seed}", "--out", str(out)], folder)
    grid = [word for key, values in GRID.items() for word in ("--grid", f"{key}={','.join(values)}")]
    with measured() as sweep:
        fedkd(
            ["sweep", str(config), *grid, "--seeds", ",".join(map(str, seeds)), "--out", str(folder / "sweep")], folder
        )
    # The runs lie where a sweep would put its cells: it finds them finished, and makes the table.
    run_sweep(config, GRID, seeds, folder / "runs")
    if table(folder / "runs") != table(folder / "sweep"):
        raise SystemExit("the sweep is not what the runs come to")
    return {
        "cells": len(cells),
        "ratio": runs.seconds / sweep.seconds,
        "cpu_ratio": runs.cpu_seconds / sweep.cpu_seconds,
        "runs_seconds": runs.seconds,
        "sweep_seconds": sweep.seconds,
        "runs_cpu_seconds": runs.cpu_seconds,
        "sweep_cpu_seconds": sweep.cpu_seconds,
    }


def table(out: Path) -> dict[str, Any]:
    """The results of a sweep but for times; every cell's has the digest of its student."""
    found: dict[str, Any] = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    for part in (*found["cells"], *found["groups"]):
        del part["measures"]["wall_seconds"]
    return found


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("inline", "ray"), default="inline", help="what fedkd run has clients on")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = compared(Path(folder), SETTING | {"engine": {"kind": arguments.engine}}, SEEDS)
    found = {name: round(value, 2) for name, value in found.items()}
    print(
        json.dumps(found) if arguments.json else "\n".join(f"{name:18} {value:8.2f}" for name, value in found.items())
    )
    return 0
