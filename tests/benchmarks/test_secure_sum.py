"""The script that measures secure sums."""

import json
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT


def test_it_says_how_exact_and_how_large(tmp_path: Path) -> None:
    options = ["--clients", "3,5", "--samples", "20", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "scripts/benchmark.py", "secure_sum", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "secure_sum.json").read_text())
    assert len(rows) == 2 * 11
    for row in rows:
        assert 0 < row["error"] <= row["bound"] < 1e-5
        assert row["bytes_up"]["mask"] == 4 * 20 * 10 + 64
    lost = next(row for row in rows if (row["clients"], row["phase"], row["share"]) == (5, "mask", 0.3))
    assert (lost["in_sum"], lost["revealing"]) == (3, 3)
    assert done.stdout.count(" yes") == 22
