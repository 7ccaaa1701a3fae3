"""What is shipped works: configurations, the shortest script, the core without Ray, pinned requirements."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


def run(*command: str, cwd: Path, path: tuple[Path, ...] = (ROOT,)) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, *command], cwd=cwd, env=environ, capture_output=True, text=True, check=False)


def test_there_are_configurations() -> None:
    assert len(CONFIGS) >= 2
    assert shipped.config_names() == sorted(str(path.relative_to(ROOT / "configs"))[:-5] for path in CONFIGS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_loads_and_opens_with_the_command_that_runs_it(path: Path) -> None:
    load_config(path)
    first = path.read_text(encoding="utf-8").splitlines()[0]
    command = re.fullmatch(r"# fedkd run (\S+)(?: \S+=\S+)*", first)
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
    assert len(script.read_text(encoding="utf-8").splitlines()) < 40
    config = str(ROOT / "configs/quickstart.yaml")
    done = run(str(script), config, *TINY, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/summary.json").is_file()
    failed = run(str(script), config, "rounds=0", "--out", "other", cwd=tmp_path)
    assert failed.returncode == 1
    assert "rounds" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_fedkd_is_importable_without_ray(tmp_path: Path) -> None:
    """With ray and Flower's simulation hidden, the inline engine runs and the ray engine says what to install."""
    hide = (
        "import importlib.abc, importlib.util, sys\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'ray': raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'ray' else find(name, *rest)\n"
        "from fedkd.app.cli.main import main; main()"
    )
    done = run("-c", hide, "run", "quickstart", *TINY, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    refused = run("-c", hide, "run", "quickstart", *TINY, "engine.kind=ray", "--out", "other", cwd=tmp_path)
    assert refused.returncode == cli.EXIT_BAD_INPUT
    for word in ("fedkd[ray]", "engine.kind=inline"):
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
