"""What is shipped works: configurations, the shortest script, the core without Ray and Flower, pinned requirements."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from installing.lowest import OPTIONS, PATHS, lowest

import fedkd
from fedkd.app.cli import main as cli
from fedkd.config import shipped
from fedkd.config.load import load_config
from tests.support import ROOT

CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
TINY = (
    "engine.kind=inline",
    "rounds=1",
    "clients.count=2",
    "data.private_size=60",
    "data.public.size=40",
    "data.public.labelled=20",
    "distillation.steps=3",
    "controls=[]",
)


MAIN = "from fedkd.app.cli.main import main; main()"


EXAMPLE = """from dataclasses import dataclass

from fedkd import LogitAggregator, ReportStack, Teacher


@dataclass
class MyTeacher(LogitAggregator):
    def aggregate(self, stack: ReportStack) -> Teacher:
        return Teacher.from_probabilities(stack.probabilities.square().mean(dim=0))
"""
"""A strategy of a user's own."""


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it; relative ones begin with a dot."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def run(*command: str, cwd: Path, path: tuple[Path, ...] = (ROOT,)) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, *command], cwd=cwd, env=environ, capture_output=True, text=True, check=False)


def test_the_version_is_the_same_wherever_it_is_said() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == str(citation["version"]) == fedkd.__version__
    assert f"\n## {fedkd.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_there_are_configurations() -> None:
    assert len(CONFIGS) >= 2
    assert shipped.config_names() == sorted(str(path.relative_to(ROOT / "configs"))[:-5] for path in CONFIGS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_loads_and_opens_with_the_command_that_runs_it(path: Path) -> None:
    load_config(path)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    command = re.fullmatch(r"# fedkd (?:run|distill) (\S+)(?: \S+=\S+)*", first)
    assert command is not None, f"{path} must open with '# fedkd run {path.relative_to(ROOT)}', got {first!r}"
    assert ROOT / command[1] == path


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml"])
def test_shipped_configurations_are_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped.config_path(name).read_bytes() == (ROOT / "configs/quickstart.yaml").read_bytes()


def test_a_file_of_ones_own_goes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").write_text("rounds: 7", encoding="utf-8")
    assert load_config(shipped.config_path("quickstart.yaml")).rounds == 7
    assert shipped.config_path("absent.yaml") == Path("absent.yaml")


def test_the_simulation_script_runs_and_is_short(tmp_path: Path) -> None:
    script = ROOT / "scripts/simulate.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 25
    assert {name for name in imports(script) if name.startswith("fedkd")} == {"fedkd"}
    config = str(ROOT / "configs/quickstart.yaml")
    done = run(str(script), config, *TINY, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/summary.json").is_file()
    failed = run(str(script), config, "rounds=0", "--out", "other", cwd=tmp_path)
    assert failed.returncode == 1
    assert "rounds" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_inline_experiment_needs_neither_ray_nor_flower(tmp_path: Path) -> None:
    """With both hidden, the inline engine runs and the ray engine says what to install."""
    hide = (
        "import importlib.abc, importlib.util, sys\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('ray', 'flwr'): raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in ('ray', 'flwr') else find(name, *rest)\n"
    )
    app = run("-c", f"{hide}from fedkd import LogitDistillation", cwd=tmp_path)
    assert "ImportError: fedkd.LogitDistillation is for Flower apps; pip install 'fedkd[flower]'" in app.stderr
    hide += "from fedkd.app.cli.main import main; main()"
    done = run("-c", hide, "run", "quickstart", *TINY, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    on_ray = [each.replace("engine.kind=inline", "engine.kind=ray") for each in TINY]
    refused = run("-c", hide, "run", "quickstart", *on_ray, "--out", "other", cwd=tmp_path)
    assert refused.returncode == cli.EXIT_BAD_INPUT
    for word in ("pip install 'ray==2.55.*'", "engine.kind=inline"):
        assert word in refused.stderr
    assert not (tmp_path / "other").exists()


def test_every_requirement_is_pinned_in_the_constraints() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins.items()}
    wanted = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    assert len(wanted) > 15
    for requirement in wanted:
        name = re.split(r"[\[<>=]", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in pins, requirement
    # Builds for one accelerator (+cpu, +cu130) are not on the common registry.
    assert not any("+" in version for version in pins.values())


def test_the_lowest_version_of_each_requirement_can_be_asked_for() -> None:
    assert lowest("torchjd[full]>=0.18") == "torchjd[full]==0.18"
    assert lowest("dp-accounting>=0.6,<0.7") == "dp-accounting==0.6"
    assert lowest("ray==2.55.*") == "ray==2.55.*"
    named = [option.partition("=")[2].partition("::")[0] for option in OPTIONS if "tests/" in option]
    for path in (*PATHS, *named):
        assert (ROOT / path).exists(), path


def requirements(*, optional: bool) -> set[str]:
    """The names of what the project depends on, of its extras instead where ``optional``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    wanted = extras if optional else project["dependencies"]
    return {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=]", line)[0]).lower() for line in wanted}


def test_what_is_imported_is_required_and_what_is_required_imported() -> None:
    files = [path for name in ("fedkd", "strategies", "clients") for path in (ROOT / name).rglob("*.py")]
    imported = {name.partition(".")[0] for path in files for name in imports(path) if not name.startswith(".")}
    imported -= {*sys.stdlib_module_names, "fedkd"}
    assert {"torch", "yaml", "cryptography"} <= imported
    distributions = packages_distributions()
    found = {re.sub(r"[-_.]+", "-", each).lower() for name in imported for each in distributions[name]}
    assert found - requirements(optional=True) == requirements(optional=False)


def plugin_files() -> list[Path]:
    return [path for name in ("strategies", "clients") for path in (ROOT / name).rglob("*.py")]


@pytest.mark.parametrize("path", plugin_files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_plug_in_file_stands_alone(path: Path) -> None:
    """Anybody can copy it and change the copy: it needs nothing but public modules of fedkd and other packages."""
    for name in imports(path):
        assert name.partition(".")[0] not in {"", "strategies", "clients", "scripts", "tests"}, name
        assert not any(part.startswith("_") for part in name.split(".")), name


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    done = run("-c", build, str(folder), cwd=ROOT, path=())
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_installed(installed: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``fedkd`` from the wheel, with other packages; without the files by which a checkout is installed."""
    others = [Path(entry) for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}]
    return run("-S", "-c", MAIN, *command, cwd=cwd, path=(installed, *others))


def test_the_wheel_installs_one_name(installed: Path) -> None:
    assert {path.name for path in installed.iterdir()} == {"fedkd", f"fedkd-{fedkd.__version__}.dist-info"}
    folders = [ROOT / name for name in ("strategies", "clients", "configs")]
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    below = installed / "fedkd/shipped"
    assert {path.relative_to(below) for path in below.rglob("*") if path.is_file()} == {
        path.relative_to(ROOT) for path in files
    }
    assert (installed / "fedkd/py.typed").is_file()


def test_the_wheel_alone_runs_the_quickstart(installed: Path, tmp_path: Path) -> None:
    done = run_installed(installed, "run", "quickstart", *TINY, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/summary.json").is_file()


def test_files_of_the_users_own_with_fedkds_words_for_names_break_nothing(installed: Path, tmp_path: Path) -> None:
    """A package ``clients/``, a module ``strategies.py``, a folder ``strategies/`` with strategies and a draft."""
    files = {
        "clients/__init__.py": "LEARNING_RATE = 1",
        "clients/random.py": "raise RuntimeError('no business of fedkd')",
        "strategies.py": "class MyStrategy: ...",
        "strategies/__init__.py": "raise RuntimeError('no business of fedkd')",
        "strategies/rules.py": "RULES = 3",
        "strategies/my_teacher.py": EXAMPLE,
        "strategies/median.py": EXAMPLE,
        "strategies/draft.py": "from fedkd import LogitAggregator\n\nclass Draft(LogitAggregator)\n",
        "my_mod.py": "from clients import LEARNING_RATE\n\n" + EXAMPLE,
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")

    for name, out in (("my_mod:MyTeacher", "by_class"), ("median", "hiding")):
        done = run_installed(installed, "run", "quickstart", *TINY, f"strategy.name={name}", "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        notice = f"strategy median: {tmp_path / 'strategies/median.py'} is used in place of the shipped one"
        assert (notice in done.stdout) == (name == "median")
    digests = {
        (tmp_path / out / "summary.json").read_text().partition("student_sha256")[2][:70]
        for out in ("by_class", "hiding")
    }
    assert len(digests) == 1

    draft = tmp_path / "strategies/draft.py"
    refused = run_installed(installed, "run", "quickstart", "strategy.name=draft", cwd=tmp_path)
    assert refused.returncode == cli.EXIT_BAD_INPUT
    assert f"{draft}, line 3: SyntaxError" in refused.stderr
    listed = run_installed(installed, "list", "strategies", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    words = "".join(listed.stdout.split())
    for word in ("draft(broken)", f"{draft},line3:SyntaxError", "my_teacher", "stacked", "placeoftheshippedone"):
        assert word in words
    behaviours = run_installed(installed, "list", "behaviours", cwd=tmp_path)
    assert (behaviours.returncode, behaviours.stdout.count("broken")) == (0, 0)
    assert "random" in behaviours.stdout.split()
