"""What processes import, and when: half of a short run's start is imports."""

import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.drawn_figures import figures_drawn

QUICKSTART = ROOT / "configs/quickstart.yaml"

NEVER = (
    "datasets",
    "dp_accounting",
    "flwr",
    "flwr_datasets",
    "matplotlib.pyplot",
    "onnx",
    "opacus",
    "pandas",
    "pyarrow",
    "ray",
    "sklearn",
    "sympy",
    "torch._dynamo",
    "torch._inductor",
    "torch.utils.flop_counter",
    "torchvision",
)
"""What an inline run of the quickstart does without: half a second and more, or 50 MB and more, each."""

WHEN_DRAWING = ("matplotlib", "PIL")
FOR_THE_TEACHER = ("scipy",)

RUN = """
import sys
from pathlib import Path
from fedkd.app.run import run_experiment
from fedkd.config import load_config
from fedkd.results.observer import Silent

config, out = sys.argv[1], Path(sys.argv[2])

def write(moment):
    (out.parent / moment).write_text("\\n".join(sys.modules))

class Watch(Silent):
    def progress(self, what, done, total):
        if what == "clients" and done == 1 and not (out.parent / "first client").exists():
            write("first client")
    def control_ended(self, name, result):
        assert (out / "rounds.jsonl").read_text().count("\\n") == 2
        write("controls")

changes = ("engine.kind=inline", "clients.epochs=1", "rounds=2", "distillation.steps=3", "controls=[public_only]")
run_experiment(load_config(config, changes), out, Watch())
assert len(list((out / "plots").glob("*.png"))) == 6
write("end")
"""
"""The quickstart, with all figures; modules are written down beside its folder."""

COMMAND = """
import sys
from fedkd.app.cli.main import main
sys.stderr = open("/dev/null", "w")
try:
    main()
except SystemExit:
    sys.stderr = sys.__stderr__
    sys.exit("\\n".join(sys.modules))
"""
"""``fedkd`` with some arguments."""


def modules_of(code: str, *arguments: str) -> set[str]:
    """What is imported when ``code`` has ended by writing that to standard error."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1, done.stderr
    found = set(done.stderr.split())
    assert {"sys", "fedkd"} <= found, done.stderr
    return found


def assert_without(found: set[str], *names: str) -> None:
    """None of ``names``, nor anything inside them, is among the modules ``found``."""
    assert not {each for each in found if any(f"{each}.".startswith(f"{name}.") for name in names)}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list"], ["run", "none.yaml"]], ids=" ".join)
def test_what_needs_no_torch_is_told_without_it(arguments: list[str]) -> None:
    assert_without(modules_of(COMMAND, *arguments), "torch", "numpy", *NEVER)


def test_importing_the_application_imports_nothing_that_is_used_later() -> None:
    found = modules_of("import sys, fedkd.app.run; sys.exit('\\n'.join(sys.modules))")
    assert {"fedkd.app.run", "torch"} <= found
    assert_without(found, *NEVER, *WHEN_DRAWING, *FOR_THE_TEACHER)


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What a run of the quickstart has imported by when."""
    folder = tmp_path_factory.mktemp("moments")
    with figures_drawn():
        subprocess.run([sys.executable, "-c", RUN, str(QUICKSTART), str(folder / "run")], check=True, cwd=ROOT)
    return {path.name: set(path.read_text().split()) for path in folder.iterdir() if path.is_file()}


def test_the_first_client_of_the_quickstart_waits_for_nothing_that_is_used_later(moments: dict[str, set[str]]) -> None:
    found = moments["first client"]
    assert {"fedkd.core.plugin_files.shipped.strategies.stacked", "fedkd.data.datasets.digits"} <= found
    assert_without(found, *NEVER, *WHEN_DRAWING, *FOR_THE_TEACHER)


def test_nothing_is_drawn_while_rounds_and_controls_run(moments: dict[str, set[str]]) -> None:
    assert_without(moments["controls"], *NEVER, *WHEN_DRAWING)


def test_a_whole_run_imports_nothing_that_it_does_not_need(moments: dict[str, set[str]]) -> None:
    assert "matplotlib" in moments["end"]
    assert_without(moments["end"], *NEVER)
