"""What Flower needs of the project is there, and what it drops or takes wrongly is not relied on."""

import io
import os
import subprocess
import sys
import tomllib
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from deployments.processes import environment
from flwr.app import Context, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.cli.config_utils import load_and_validate
from flwr.common.constant import FAB_MAX_SIZE

import fedkd
from fedkd.app import flower_app
from fedkd.config.load import load_config, to_mapping
from fedkd.core.errors import ConfigError, PluginError, RunError
from fedkd.engines.flower.node import DATA_ROOT, NUM_PARTITIONS, PARTITION_ID, STATE_DIR
from fedkd.engines.flower.requirements import unmet_requirements
from tests.support import ROOT
from tests.support.local_grid import LocalGrid

pytestmark = pytest.mark.usefixtures("task_identity")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEFAULTS: dict[str, Any] = PROJECT["tool"]["flwr"]["app"]["config"]


@pytest.fixture(scope="module")
def bundle() -> zipfile.ZipFile:
    with warnings.catch_warnings():
        # Flower asks pathspec for a class that is deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        content = build_fab_from_disk(ROOT)
    assert len(content) < FAB_MAX_SIZE / 2  # far from what Flower refuses
    return zipfile.ZipFile(io.BytesIO(content))


def test_flower_accepts_the_project() -> None:
    """It reads version, publisher and components, and finds the apps by parsing the file that the components name."""
    config, warnings = load_and_validate(ROOT / "pyproject.toml")
    assert warnings == []
    assert config["project"]["version"] == fedkd.__version__


def test_the_bundle_has_every_module_and_configuration_and_nothing_else(bundle: zipfile.ZipFile) -> None:
    """Flower drops what is called ``test_x.py`` or ``x_test.py``, and everything but a few kinds of files.

    What ``fedkd new`` copies is of no use there, and does not travel whole.
    """
    packages = [path for name in ("fedkd", "strategies", "clients") for path in (ROOT / name).rglob("*.py")]
    files = {str(path.relative_to(ROOT)) for path in (*packages, *(ROOT / "configs").rglob("*.yaml"))}
    assert len(files) > 200
    copied = "fedkd/app/cli/new/template/"
    found = set(bundle.namelist()) - {"pyproject.toml", ".info/CONTENT"}
    assert {name for name in found ^ files if not name.startswith(copied)} == set()


def test_the_bundle_alone_runs_every_shipped_configuration(bundle: zipfile.ZipFile, tmp_path: Path) -> None:
    bundle.extractall(tmp_path)
    code = (
        "import fedkd.app.flower_app as app, fedkd.app.run, fedkd.config.shipped as shipped\n"
        f"keys = {DEFAULTS!r}\n"
        "names = shipped.config_names()\n"
        "assert len(names) > 15\n"
        "for name in names: app.experiment_of(keys | {'config': name})\n"
        "assert app.experiment_of(keys | {'config': 'configs/quickstart.yaml'})[1] == 'quickstart'\n"
        "print(app.__file__)"
    )
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd="/", env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "fedkd/app/flower_app.py"


def test_nodes_do_not_load_what_the_server_alone_needs() -> None:
    """A SuperNode starts a process for every message."""
    unwanted = {"fedkd.app.run", "fedkd.core.plugin_files.shipped.strategies", "matplotlib", "ray"}
    code = f"import sys, fedkd.app.flower_app; print({unwanted} & set(sys.modules))"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_run_config_is_the_experiment() -> None:
    keys = DEFAULTS | {"config": "fashion_mnist", "overrides": "rounds=2 'strategy={name: trimmed_mean, trim: 1}'"}
    config, name = flower_app.experiment_of(keys)
    assert name == "fashion_mnist"
    expected = load_config(ROOT / "configs/fashion_mnist.yaml", ["rounds=2", "strategy={name: trimmed_mean, trim: 1}"])
    assert to_mapping(config) == to_mapping(expected)
    assert to_mapping(flower_app.experiment_of(DEFAULTS)[0]) == to_mapping(
        load_config(ROOT / "configs/quickstart.yaml")
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"config": "absent"}, r"config: no such file on this machine, got 'absent'; give a shipped name"),
        ({"overrides": "rounds=0"}, r"rounds: .*got 0"),
        ({"overrides": "strategy='stacked"}, r"overrides: No closing quotation"),
        ({"config": "quickstrt"}, r"did you mean 'quickstart'"),
        ({"resume": "false"}, r"resume: must be true or false, got 'false'"),
        ({"join-timeout": "soon"}, r"join-timeout: must be a number of seconds: 30\.0, got 'soon'"),
        ({"resume": True}, r"resume: needs the folder of the run"),
    ],
)
def test_faults_of_the_run_config_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        flower_app.main(LocalGrid(0), Context(1, 1, {}, RecordDict(), DEFAULTS | keys))


def test_results_go_where_the_superlink_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/quickstart-1").mkdir(parents=True)
    assert flower_app.run_folder(DEFAULTS, "quickstart") == tmp_path / "runs/quickstart-2"
    assert flower_app.run_folder(DEFAULTS | {"out": "here"}, "quickstart") == tmp_path / "here"
    assert flower_app.run_folder(DEFAULTS | {"out": "/there", "resume": True}, "quickstart") == Path("/there")


def test_a_plug_in_that_ends_the_process_fails_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Flower takes ``SystemExit`` for a good end."""
    source = """
import sys
from fedkd.data import DataSource

class Source(DataSource):
    def available(self, root):
        return True
    def load(self, root):
        sys.exit(0)
"""
    (tmp_path / "quitting.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    keys = DEFAULTS | {"overrides": "data.dataset=quitting:Source", "out": str(tmp_path / "run")}
    with pytest.raises(PluginError, match=r"quitting\.py, line 9: SystemExit: 0"):
        flower_app.main(LocalGrid(0), Context(1, 1, {}, RecordDict(), keys))


def test_an_environment_that_is_not_fedkds_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``flwr run`` uses whatever SuperLink answers on its port, whoever started it, with its Python."""
    project = tmp_path / "pyproject.toml"
    lines, flower = ["numpy>=1", "numpy>=999", "no-such-package; python_version < '3'"], ["no-such-package>=1"]
    text = f"[project]\ndependencies = {lines}\n[project.optional-dependencies]\nflower = {flower}\n"
    project.write_text(text, encoding="utf-8")
    problems = unmet_requirements(project)
    assert len(problems) == 2
    assert problems[0].endswith("and must be >=999")
    assert problems[1] == "no-such-package is not installed"
    assert unmet_requirements(tmp_path / "absent.toml") == []
    monkeypatch.setattr(flower_app, "unmet_requirements", lambda: problems)
    with pytest.raises(RunError, match=r"no-such-package is not installed\. Stop the SuperLink, and start it from the"):
        flower_app.main(LocalGrid(0), Context(1, 1, {}, RecordDict(), DEFAULTS))


def test_flowers_processes_keep_to_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/elsewhere/bin")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    found = environment(tmp_path)
    assert found["PATH"].split(os.pathsep) == [str(Path(sys.executable).parent), "/elsewhere/bin"]
    switches = {
        "FLWR_HOME": str(tmp_path),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": "local",
    }
    assert {name: found[name] for name in switches} == switches
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert environment(tmp_path)["RAY_ADDRESS"] == "10.0.0.1:6379"


def test_the_document_names_every_key() -> None:
    text = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    for key in (*DEFAULTS, PARTITION_ID, NUM_PARTITIONS, STATE_DIR, DATA_ROOT):
        assert f"`{key}`" in text, key
    assert f"| `join-timeout` | `{DEFAULTS['join-timeout']}` |" in text
