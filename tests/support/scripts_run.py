"""The project's scripts, run as a user runs them."""

import os
import subprocess
import sys

from tests.support import ROOT


def run_script(*arguments: str) -> str:
    """What the script prints; it must end well."""
    found = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout
