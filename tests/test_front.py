"""What is importable from ``fedkd`` itself: there, typed, documented, and loaded no sooner than it is used."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fedkd
from fedkd import FedkdError, GradientGeometry, build_balancer, gaussian_epsilon, load_config, run_experiment
from tests.support import ROOT

NAMES = sorted(set(fedkd.__all__) - {"__version__"})


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(fedkd, name)
    assert name in dir(fedkd)
    assert found.__name__ == name
    assert inspect.getdoc(found)


def test_the_types_are_those_of_the_same_things() -> None:
    """What type checkers read names the modules in which the names are defined or offered."""
    body = ast.parse((ROOT / "fedkd/__init__.py").read_text(encoding="utf-8")).body
    imports = next(node for node in body if isinstance(node, ast.If)).body
    stated = {alias.name: node.module for node in imports if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(stated) == NAMES
    for name, module in stated.items():
        assert module is not None
        assert getattr(sys.modules.get(module) or __import__(module, fromlist=[name]), name) is getattr(fedkd, name)


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'load_confg'"):
        fedkd.load_confg  # type: ignore[attr-defined]  # noqa: B018


def test_importing_fedkd_loads_nothing_heavy() -> None:
    code = "import sys, fedkd; dir(fedkd); print(len({'torch', 'flwr', 'ray', 'numpy', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_public_calls_refuse_what_cannot_be() -> None:
    geometry = GradientGeometry(a=4.0, b=-1.0, c=1.0, loss_dist=1.0, loss_cls=1.0, step=0)
    assert 0 <= build_balancer("gradual", maximum=0.5).update(geometry) <= 0.5
    with pytest.raises(FedkdError, match="did you mean 'maximum'"):
        build_balancer("gradual", maximun=0.5)
    with pytest.raises(ValueError, match="squared norms"):
        build_balancer("gradual").update(GradientGeometry(a=-1.0, b=0.0, c=1.0, loss_dist=1.0, loss_cls=1.0, step=0))
    # Dong, Roth and Su 2019: 1-GDP is (1, 0.1269)-DP.
    assert gaussian_epsilon(noise_multiplier=1.0, releases=1, delta=0.126936737) == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(ValueError, match="delta must lie strictly between 0 and 1"):
        gaussian_epsilon(noise_multiplier=1.0, releases=1, delta=1e5)


def test_an_experiment_takes_a_configuration_and_no_file_name(tmp_path: Path) -> None:
    with pytest.raises(FedkdError, match=r"config: must be an ExperimentConfig, got str; .* fedkd\.load_config"):
        run_experiment("quickstart", tmp_path / "run")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/config.yaml").write_text("rounds: 1")
    with pytest.raises(FedkdError, match="already holds a run"):
        run_experiment(load_config({"rounds": 1}), str(tmp_path / "taken"))
