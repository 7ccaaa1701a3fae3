"""What the quickstart with all its controls takes in processor time, beside that of another checkout.

    python scripts/benchmark.py quickstart [--before TREE] [--repeats 3] [--json]

Whole commands, on the inline engine, one after the other and in turn: user and system time of each with all processes
that it starts, of which medians are compared. Both run on this Python and its packages, each with its own fedkd.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parents[2]
SAME = ("student_sha256", "student_accuracy", "controls")
"""What of their results must be alike for the comparison to mean something."""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is run; medians are compared")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.add_argument("overrides", nargs="*", help="key=value, for both")
    arguments = parser.parse_args(argv)
    trees = {"": HERE} | ({} if arguments.before is None else {"_before": arguments.before.resolve()})
    for tree in trees.values():
        if not (tree / "fedkd" / "app").is_dir():
            parser.error(f"--before must be a checkout of fedkd, got {tree}, which has no fedkd/app")
    seconds: dict[str, list[float]] = {side: [] for side in trees}
    results: dict[str, dict[str, Any]] = {}
    for _ in range(arguments.repeats):
        for side, tree in trees.items():
            taken, results[side] = cpu_seconds(tree, arguments.overrides)
            seconds[side].append(taken)
    found = {f"cpu_seconds{side}": round(statistics.median(each), 3) for side, each in seconds.items()}
    if "_before" in trees:
        found["cpu_ratio"] = round(found["cpu_seconds"] / found["cpu_seconds_before"], 3)
        found["same_result"] = float(all(results[""][key] == results["_before"][key] for key in SAME))
    if arguments.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:28} {value:8.3f}" for name, value in found.items()))
    return 0


def cpu_seconds(tree: Path, overrides: Sequence[str] = ()) -> tuple[float, dict[str, Any]]:
    """Processor time of the quickstart of a checkout, and its summary; ``RuntimeError`` where it fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        code = "from fedkd.app.cli.main import main; main()"
        command = [sys.executable, "-c", code, "run", "quickstart", "engine.kind=inline", *overrides, "--out", str(out)]

        environment = os.environ | {"PYTHONPATH": str(tree)}
        with subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"the quickstart of {tree} ended with status {process.returncode}")
        return usage.ru_utime + usage.ru_stime, json.loads((out / "summary.json").read_text())
