"""The same federated averaging, and the same DS-FL, in fedkd and in a bare loop of PyTorch with two processes.

    python scripts/benchmark.py peer [--repeats 5] [--json]

Fashion-MNIST, 30,000 images over 10 clients by Dirichlet(0.1), three rounds, the work of configs/benchmarks/. All sides
take turns; the figures are ratios of medians to the bare loop: ``rounds_*`` of the rounds' seconds, ``wall_*`` of the
whole process's, from its start to its end. ``dsfl_ray`` is that of the rounds of DS-FL. ``pss_*_mb`` is the peak of the
proportional set size of the process and all that it starts, in 10⁶ bytes. On Ray fedkd has two workers; inline it is
one process whose operations may use two threads. The student is tested in every round on every side. Linux only.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.given_work import write_files

from benchmarks.measuring import Peak, family_bytes
from fedkd.config.load import load_config

CONFIGS = Path(__file__).parents[2] / "configs/benchmarks"
WORKERS = 2
SAMPLES, ALPHA = 30_000, 0.1

COMMAND = "from fedkd.app.cli.main import main; main()"

ON_RAY = ("engine.kind=ray", f"engine.workers={WORKERS}")
INLINE = ("engine.kind=inline", f"engine.resources.cnn.threads={WORKERS}")


@dataclass(frozen=True)
class Measured:
    """One run of one side: seconds of its rounds, seconds and peak bytes of all its processes, its last accuracy."""

    rounds: float
    wall: float
    peak: float
    accuracy: float


def watched(command: Sequence[str], folder: Path) -> tuple[str, float, float]:
    """The output of a program, its wall time in seconds, and its peak memory in bytes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    begun = time.perf_counter()
    program = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    with Peak(lambda: family_bytes(program.pid), seconds=0.5) as peak:
        out, _ = program.communicate()
    wall = time.perf_counter() - begun
    if program.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {program.returncode}")
    return out, wall, peak.value


def bare(kind: str, folder: Path) -> Measured:
    """The bare loop."""
    out, wall, peak = watched([sys.executable, "-m", "benchmarks.bare_given", kind, str(folder), str(WORKERS)], folder)
    found = json.loads(out)
    return Measured(found["seconds"], wall, peak, found["accuracies"][-1])


def fedkd(config: str, folder: Path, *changes: str) -> Measured:
    """``fedkd run`` of a configuration; its rounds last from the first client's turn to the last round on disk."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        command = [sys.executable, "-c", COMMAND, "run", str(CONFIGS / config), "--out", f"{out}/run", *changes]
        _, wall, peak = watched([*command, f"engine.server_threads={WORKERS}"], folder)
        lines = Path(out, "run/timings.jsonl").read_text().splitlines()
        accuracy = json.loads(Path(out, "run/summary.json").read_text())["student_accuracy"]
    return Measured(sum(json.loads(line)["seconds"] for line in lines), wall, peak, accuracy)


def measure(folder: Path, repeats: int) -> dict[str, list[Measured]]:
    """What each side took, in rounds in which each has a turn."""
    sides: dict[str, Callable[[], Measured]] = {
        "bare": lambda: bare("fedavg", folder),
        "ray": lambda: fedkd("fedavg_given.yaml", folder, *ON_RAY),
        "inline": lambda: fedkd("fedavg_given.yaml", folder, *INLINE),
        "bare_dsfl": lambda: bare("ds_fl", folder),
        "dsfl": lambda: fedkd("ds_fl_given.yaml", folder, *ON_RAY),
    }
    found: dict[str, list[Measured]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            found[name].append(side())
    return found


def figures(found: dict[str, list[Measured]]) -> dict[str, float]:
    """Ratios to the bare loop, megabytes, and accuracies, by which to see that the work is the same."""

    def median(side: str, what: str) -> float:
        return float(statistics.median(getattr(each, what) for each in found[side]))

    return {
        "rounds_ray": median("ray", "rounds") / median("bare", "rounds"),
        "rounds_inline": median("inline", "rounds") / median("bare", "rounds"),
        "wall_ray": median("ray", "wall") / median("bare", "wall"),
        "wall_inline": median("inline", "wall") / median("bare", "wall"),
        "dsfl_ray": median("dsfl", "rounds") / median("bare_dsfl", "rounds"),
        "pss_ray_mb": median("ray", "peak") / 1e6,
        "pss_inline_mb": median("inline", "peak") / 1e6,
        "pss_bare_mb": median("bare", "peak") / 1e6,
        "bare_rounds_s": median("bare", "rounds"),
        "bare_wall_s": median("bare", "wall"),
        **{f"accuracy_{side}": median(side, "accuracy") for side in found},
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        before = Path.cwd()
        os.chdir(folder)  # where the configurations look for what they are given
        try:
            write_files(load_config(CONFIGS / "ds_fl_given.yaml"), samples=SAMPLES, alpha=ALPHA, seed=0)
        finally:
            os.chdir(before)
        found = figures(measure(folder, arguments.repeats))
    if arguments.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key:20} {value:.3f}")
    return 0
