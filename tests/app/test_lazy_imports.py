"""What a process imports before the first client's first step: half of a short run's start is imports."""

import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

QUICKSTART = ROOT / "configs/quickstart.yaml"

LATER = (
    "datasets",
    "dp_accounting",
    "flwr",
    "flwr_datasets",
    "matplotlib",
    "opacus",
    "pandas",
    "pyarrow",
    "ray",
    "scipy.optimize",
    "scipy.stats",
    "sklearn",
    "torch.utils.flop_counter",
    "torchvision",
)
"""Half a second and more, or 50 MB and more, together five seconds and half a gigabyte."""

FIRST_CLIENT = """
import sys
from pathlib import Path
from fedkd.app.run import run_experiment
from fedkd.config import load_config
from fedkd.results.observer import Silent

class StopAfterFirstClient(Silent):
    def progress(self, what, done, total):
        if what == "clients" and done == 1:
            sys.exit("\\n".join(sys.modules))

config = load_config(sys.argv[1], ["engine.kind=inline", "clients.epochs=1"])
run_experiment(config, Path(sys.argv[2]), StopAfterFirstClient())
"""


def modules_of(code: str, *arguments: str) -> set[str]:
    """What is imported when ``code`` has ended by writing that to standard error."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found = set(done.stderr.split())
    assert {"fedkd.app.run", "torch"} <= found, done.stderr
    return found


def test_importing_the_application_imports_nothing_that_is_used_later() -> None:
    assert not modules_of("import sys, fedkd.app.run; sys.exit('\\n'.join(sys.modules))") & set(LATER)


def test_the_first_client_of_the_quickstart_waits_for_nothing_that_is_used_later(tmp_path: Path) -> None:
    found = modules_of(FIRST_CLIENT, str(QUICKSTART), str(tmp_path / "run"))
    assert {"fedkd.core.plugin_files.shipped.strategies.stacked", "fedkd.data.datasets.digits"} <= found
    assert not found & set(LATER)
