"""A newcomer's path, from `fedkd new` to a PDF with the table and the figure, with the seconds of each step.

python scripts/first_study.py
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = (
    "fedkd new .",
    "fedkd run experiment.yaml",
    "python -m pytest -q",
    "sh sweep.sh",
    "cd paper && pdflatex -interaction=batchmode paper",
)


def main() -> None:
    """Every step as a user types it, with the programs beside this Python."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    environ = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            if "pdflatex" in step and shutil.which("pdflatex") is None:
                print(f"left out  {step} (pdflatex is not installed)")
                continue
            begun = time.monotonic()
            subprocess.run(step, shell=True, cwd=folder, env=environ, stdout=subprocess.DEVNULL, check=True)
            print(f"{time.monotonic() - begun:6.1f} s  {step}", flush=True)


if __name__ == "__main__":
    main()
