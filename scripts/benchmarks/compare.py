"""``fedkd compare`` of many runs: seconds on the wall and of the processor, and the megabytes of its page.

    python scripts/benchmark.py compare [--runs 1000] [--rounds 5] [--json]

One small experiment is run once; the runs are copies of it, with other seeds, settings and accuracies: ten seeds of
each of a tenth as many configurations.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedkd.app.run import run_experiment
from fedkd.config.identity import run_digest
from fedkd.config.load import parse_config, to_mapping
from fedkd.config.strict_yaml import dump_yaml
from fedkd.core.documents import DIGEST, RUN, write_document
from fedkd.results.logs import LogState
from fedkd.results.summary_file import LOGS, SUMMARY

SETTING: dict[str, Any] = {
    "data": {"private_size": 60, "public": {"size": 40, "labelled": 20}},
    "clients": {"count": 2},
    "student": {"model": {"name": "mlp"}},
    "distillation": {"steps": 20},
    "controls": ["public_only"],
    "engine": {"kind": "inline"},
}
SEEDS = 10


def copies(original: Path, folder: Path, count: int) -> None:
    """``count`` folders like that of the run ``original``, each of another configuration or seed."""
    config = to_mapping(parse_config(SETTING))
    rounds = [json.loads(line) for line in (original / "rounds.jsonl").read_text(encoding="utf-8").splitlines()]
    summary = json.loads((original / SUMMARY).read_text(encoding="utf-8"))
    config["rounds"] = summary["rounds"]
    draw = random.Random(0)
    for number in range(count):
        group, seed = divmod(number, SEEDS)
        run = Path(
            shutil.copytree(original, folder / f"{number:05}", ignore=shutil.ignore_patterns("checkpoints", "plots"))
        )
        config["seed"], config["clients"]["learning_rate"] = seed, 0.01 + group / 1000
        for record in rounds:
            record["student_accuracy"] = draw.uniform(0.5, 0.9)
        (run / "config.yaml").write_text(dump_yaml(config), encoding="utf-8")
        (run / "rounds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in rounds), encoding="utf-8")
        changed = {"student_accuracy": rounds[-1]["student_accuracy"], "bytes_up": draw.randrange(10**6, 10**8)}
        logs = {name: LogState.of((run / name).read_bytes()).sha256 for name in summary[LOGS]}
        kept = {name: value for name, value in summary.items() if name not in {RUN, DIGEST}}
        write_document(run / SUMMARY, kept | changed | {LOGS: logs}, run_digest(config))


def measured(count: int, rounds: int) -> dict[str, float]:
    """Seconds of the whole command, start included, on the wall and of the processor, and the page's megabytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_experiment(parse_config(SETTING | {"rounds": rounds}), folder / "original")
        copies(folder / "original", folder / "runs", count)
        page = folder / "page.html"
        command = [
            "-c",
            "from fedkd.app.cli.main import main; main()",
            "compare",
            str(folder / "runs"),
            "--out",
            str(page),
        ]
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        return {
            "runs": count,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
            "page_megabytes": round(page.stat().st_size / 1e6, 2),
        }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    arguments = parser.parse_args(argv)
    found = measured(arguments.runs, arguments.rounds)
    print(json.dumps(found) if arguments.json else "\n".join(f"{name:15} {value:8}" for name, value in found.items()))
    return 0
