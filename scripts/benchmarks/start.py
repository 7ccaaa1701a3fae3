"""How long an experiment takes to begin; see benchmark.py."""

import os
import statistics
import subprocess
import sys
import time

TORCH = ("-c", "import torch")


def start(repeats: int) -> dict[str, float]:
    """Seconds from a process's start to the first step of a client, over those of ``python -c "import torch"``.

    Of the quickstart, on the inline engine and on Ray, which is started for it. The three take turns; of each the
    median counts.
    """
    # What is measured is a start with compiled modules, of which the first round makes those that are missing.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    seconds: dict[str, list[float]] = {"torch": [], "inline": [], "ray": []}
    for _ in range(repeats + 1):
        for name, found in seconds.items():
            arguments = TORCH if name == "torch" else ("-m", "benchmarks.engine_start", name)
            begun = time.time()
            done = subprocess.run(
                [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            found.append((float(done.stdout) if done.stdout else time.time()) - begun)
    middle = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    return {
        "import_torch_seconds": middle["torch"],
        **{f"start_{kind}": middle[kind] / middle["torch"] for kind in ("inline", "ray")},
    }
