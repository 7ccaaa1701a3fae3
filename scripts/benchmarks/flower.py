"""What ``LogitDistillation`` with plain clients costs over fedkd's own engine; see benchmark.py."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.engine import REFERENCE

WORK = (
    "rounds=4",
    "data.private_size=10000",
    "data.public.size=3000",
    "distillation.steps=300",
    "engine.kind=ray",
    "engine.workers=2",
)
"""Ten clients, and a third of the samples and of the steps."""

COMMAND = "from fedkd.app.cli.main import main; main()"


def flower(repeats: int) -> dict[str, float]:
    """Rounds of the reference work in Flower's simulation with plain clients, over the same by ``fedkd run`` on Ray.

    A third of configs/algorithms/stacked.yaml, with two workers on both sides, which take turns; ``plain_clients``
    is the ratio of the medians of all rounds but the first of each turn, in which processes start; ``first_round`` that
    of these. Both sides train, distil and test alike, and end with the same student, or this fails.
    """
    seconds: dict[str, list[list[float]]] = {"fedkd": [], "plain": []}
    for _ in range(repeats):
        (own, one), (plain, other) = _fedkd(), _plain()
        if one != other:
            raise RuntimeError(f"the two sides do not do the same work: their students are {one} and {other}")
        seconds["fedkd"].append(own)
        seconds["plain"].append(plain)
    later = {side: statistics.median(each for run in runs for each in run[1:]) for side, runs in seconds.items()}
    first = {side: statistics.median(run[0] for run in runs) for side, runs in seconds.items()}
    return {
        "plain_clients": later["plain"] / later["fedkd"],
        "first_round": first["plain"] / first["fedkd"],
        "fedkd_round_seconds": later["fedkd"],
        "plain_round_seconds": later["plain"],
    }


def _fedkd() -> tuple[list[float], str]:
    """The seconds of each round, and the digest of the student."""
    with tempfile.TemporaryDirectory() as folder:
        _run("-c", COMMAND, "run", str(REFERENCE), "--out", f"{folder}/run", *WORK)
        lines = Path(folder, "run/timings.jsonl").read_text(encoding="utf-8").splitlines()
        summary = json.loads(Path(folder, "run/summary.json").read_text(encoding="utf-8"))
    return [json.loads(line)["seconds"] for line in lines], summary["student_sha256"]


def _plain() -> tuple[list[float], str]:
    with tempfile.TemporaryDirectory() as home:
        found = json.loads(_run("-m", "benchmarks.plain_app", str(REFERENCE), *WORK, FLWR_HOME=home).splitlines()[-1])
    return found["seconds"], found["student"]


def _run(*arguments: str, **variables: str) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "local",
        **variables,
    }
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout
