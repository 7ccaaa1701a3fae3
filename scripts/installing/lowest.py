"""Install fedkd with the lowest versions that pyproject.toml allows, in an environment of its own, and test its core.

    python scripts/lowest_versions.py [--environment DIR]

Shows that the lower bounds are true. Takes some minutes, most of them for downloads. An environment that is there is
used again. Ends with the tests' exit status.
"""

import argparse
import os
import subprocess
import tempfile
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

TOOLS = ("beartype", "hypothesis", "pytest", "pytest-xdist")
"""What the tests need, in the versions of constraints.txt: no bound of fedkd's users."""

CORE = ("aggregation", "client", "config", "core", "data", "distillation", "models", "privacy", "results", "server")
PATHS = (*(f"tests/{name}" for name in CORE), "tests/engines/test_inline.py", "tests/app/test_run.py")

EXTRAS = ("analysis", "torchjd")
"""What some of these tests are about."""

OPTIONS = (
    # The device that stands for a GPU is made by a function that torch has only had since.
    "--deselect=tests/core/test_compute.py::test_federations_on_a_second_device_end_with_the_same_bits",
    # What needs other extras, or a package that these tests alone need.
    "--ignore=tests/data/datasets/test_huggingface.py",
    "--ignore=tests/data/datasets/test_watch.py",
    "--deselect=tests/data/test_schemes.py::test_every_scheme_draws_what_flwr_datasets_draws",
    # Of matplotlib's, for the newest pyparsing.
    "-Wignore::DeprecationWarning",
)


def lowest(requirement: str) -> str:
    """The requirement with its lower bound as the only version; one of a single series stays as it is."""
    read = Requirement(requirement)
    bounds = [each.version for each in read.specifier if each.operator == ">="]
    name = f"{read.name}[{','.join(read.extras)}]" if read.extras else read.name
    return f"{name}=={bounds[0]}" if bounds else f"{name}{read.specifier}"


def install(environment: Path) -> Path:
    """An environment with the lowest versions; its Python."""
    python = environment / "bin/python"
    if not python.exists():
        venv.create(environment, with_pip=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    tools = [line for line in pinned if line.partition("==")[0] in TOOLS]
    extras = (line for name in EXTRAS for line in project["optional-dependencies"][name])
    wanted = [*map(lowest, (*project["dependencies"], *extras)), *tools]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted, "-e", ROOT], check=True)
    return python


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--environment", type=Path, help="folder of the environment (default: a new one, removed again)"
    )
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        python = install(arguments.environment or Path(folder, "lowest"))
        command = [str(python), "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", *OPTIONS, *PATHS]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}).returncode
