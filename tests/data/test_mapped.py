"""Samples that stay in their file: an experiment takes the memory of what it uses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.support import ROOT, SUPPORT
from tests.support.data_files import SMALL

LIMIT = 1536
"""MiB, most of which torch's libraries take."""


def test_data_three_times_as_large_as_the_memory_run(tmp_path: Path) -> None:
    features = 4096
    rows = 3 * (LIMIT << 20) // (4 * features)
    labels = np.random.default_rng(0).integers(0, 4, rows)
    # What is not written takes no room on the disk either.
    samples = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(rows, features))
    samples[:200] = labels[:200, None]
    samples.flush()
    del samples
    np.save(tmp_path / "y.npy", labels)
    assert (tmp_path / "x.npy").stat().st_size >= 3 * (LIMIT << 20)
    config = SMALL | {
        "clients": {"count": 500, "fraction": 0.005, "epochs": 1},
        "data": {
            "dataset": {"name": "npz", "path": str(tmp_path), "test_share": 0.001},
            "partition": {"scheme": "iid"},
            "public": {"size": 60, "labelled": 30},
        },
    }
    (tmp_path / "config.yaml").write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "run_in_little_memory.py"), "config.yaml", "out", str(LIMIT)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out/summary.json").read_text(encoding="utf-8"))
    assert (summary["rounds"], summary["clients"]) == (1, 500)
