"""A student that starts from given weights, and files that hold none for it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from fedkd.app.checks import check
from fedkd.app.run import run_experiment
from fedkd.app.sweep import plan_sweep
from fedkd.config.digest import configuration_digest
from fedkd.config.given import pinned
from fedkd.config.load import load_config, parse_config
from fedkd.core.errors import ConfigError
from fedkd.experiment import Experiment
from tests.support.federations import SMALL

State = dict[str, Tensor]


@pytest.fixture
def state() -> State:
    """Weights that no seed draws."""
    drawn = Experiment.of(load_config(SMALL, ["seed=7"])).initial_model().state_dict()
    return {name: tensor.clone() for name, tensor in drawn.items()}


def saved(path: Path, content: Any) -> str:
    torch.save(content, path)
    return f"student.init={path}"


def problem_of(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(load_config(SMALL, overrides))
    (problem,) = caught.value.problems
    return problem


def test_everybody_with_the_students_architecture_starts_from_the_file(tmp_path: Path, state: State) -> None:
    models = "clients.models=[{name: mlp, hidden: [8]}, {name: mlp, hidden: [9]}]"
    given = saved(tmp_path / "init.pt", state)
    experiment = check(load_config(SMALL, [given, models, "clients.rule=own_model"]))
    drawn = Experiment.of(load_config(SMALL, [models, "clients.rule=own_model"]))
    for client, of_the_file in ((0, True), (1, False)):
        architecture = experiment.architecture_of(client)
        start = experiment.initial_model(architecture).state_dict()
        expected = state if of_the_file else drawn.initial_model(architecture).state_dict()
        assert all(torch.equal(start[name], expected[name]) for name in expected)


def test_a_run_depends_on_the_weights_and_says_which_they_were(tmp_path: Path, state: State) -> None:
    short = [saved(tmp_path / "init.pt", state), "rounds=1"]
    given = run_experiment(load_config(SMALL, short), tmp_path / "given").summary
    drawn = run_experiment(load_config(SMALL, ["rounds=1"]), tmp_path / "drawn").summary
    again = yaml.safe_load((tmp_path / "given" / "config.yaml").read_text())
    repeated = run_experiment(parse_config(again), tmp_path / "again").summary
    assert given.student_sha256 == repeated.student_sha256 != drawn.student_sha256
    assert again["student"]["init"] == str(tmp_path / "init.pt")
    assert len(again["student"]["init_sha256"]) == 64


def test_a_path_is_relative_to_where_the_user_works(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "init.pt", state)
    monkeypatch.chdir(tmp_path)
    config = pinned(load_config(SMALL, ["student.init=init.pt"]))
    monkeypatch.chdir("/")
    assert torch.equal(next(check(config).initial_model().parameters()), next(iter(state.values())))


def test_double_precision_becomes_the_models_own(tmp_path: Path, state: State) -> None:
    given = saved(tmp_path / "init.pt", {name: tensor.double() for name, tensor in state.items()})
    start = check(load_config(SMALL, [given])).initial_model().state_dict()
    assert all(torch.equal(start[name], state[name]) for name in state)


def test_another_file_under_the_name_is_refused_on_resume(tmp_path: Path, state: State) -> None:
    given, out = [saved(tmp_path / "init.pt", state)], tmp_path / "run"
    run_experiment(load_config(SMALL, [*given, "rounds=1"]), out)
    shutil.copy(tmp_path / "init.pt", tmp_path / "elsewhere.pt")
    saved(tmp_path / "init.pt", {name: tensor + 1 for name, tensor in state.items()})
    with pytest.raises(ConfigError, match=r"student\.init_sha256: the run in .* has"):
        run_experiment(load_config(SMALL, [*given, "rounds=2"]), out, resume=True)
    own = load_config(out / "config.yaml", ["rounds=2"])
    with pytest.raises(ConfigError, match=r"student\.init: .*init\.pt is not the file .* put that file back"):
        run_experiment(own, out, resume=True)
    moved = load_config(SMALL, [f"student.init={tmp_path / 'elsewhere.pt'}", "rounds=2"])
    assert run_experiment(moved, out, resume=True).summary.rounds == 2


def test_a_finished_run_needs_the_file_no_more(tmp_path: Path, state: State) -> None:
    given, out = saved(tmp_path / "init.pt", state), tmp_path / "run"
    summary = run_experiment(load_config(SMALL, [given, "rounds=1"]), out).summary
    (tmp_path / "init.pt").unlink()
    assert run_experiment(load_config(out / "config.yaml"), out, resume=True).summary == summary


def test_a_sweep_knows_its_cells_again(tmp_path: Path, state: State) -> None:
    given = [saved(tmp_path / "init.pt", state), "rounds=1"]
    (planned,) = plan_sweep(SMALL, {}, [0], tmp_path / "sweep", given)
    run_experiment(planned.cell.config, planned.folder)
    (again,) = plan_sweep(SMALL, {}, [0], tmp_path / "sweep", given)
    assert again.finished


def test_the_digest_of_a_configuration_is_that_of_the_content(tmp_path: Path, state: State) -> None:
    given = [saved(tmp_path / "a.pt", state), saved(tmp_path / "b.pt", {name: -each for name, each in state.items()})]
    shutil.copy(tmp_path / "a.pt", tmp_path / "c.pt")
    configs = [pinned(load_config(SMALL, [name])) for name in (*given, f"student.init={tmp_path / 'c.pt'}")]
    one, changed, moved = map(configuration_digest, configs)
    assert one == moved != changed


def lacking(state: State) -> Any:
    return dict(list(state.items())[:-1])


def turned(state: State) -> Any:
    return {name: tensor.t() if tensor.ndim == 2 else tensor for name, tensor in state.items()}


def wild(state: State) -> Any:
    return {name: torch.full_like(tensor, torch.inf) for name, tensor in state.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lacking, "it lacks"),
        (lambda state: state | {"extra": torch.zeros(1)}, "the model has no extra"),
        (turned, "instead of [8, 64]"),
        (wild, "numbers are not finite in"),
        (lambda state: {name: each.double() * 1e200 for name, each in state.items()}, "not finite"),
        (lambda state: {name: each.long() for name, each in state.items()}, "kind of numbers in"),
        (lambda state: {name: each.to(torch.complex64) for name, each in state.items()}, "kind of numbers in"),
        (lambda state: {"state_dict": state, "epoch": 3}, "it holds 'state_dict', a dict, and no state dict"),
        (lambda state: list(state.values()), "it holds a list and no state dict"),
        (lambda state: {"a": torch.nn.Linear}, "objects and code beside tensors"),
    ],
)
def test_what_are_no_weights_of_the_student_is_told(
    tmp_path: Path, state: State, change: Callable[[State], Any], words: str
) -> None:
    given = saved(tmp_path / "init.pt", change(state))
    problem = problem_of(given)
    assert problem.startswith(f"student.init: {tmp_path / 'init.pt'} cannot be used: ")
    assert words in problem
    with pytest.raises(ConfigError):
        run_experiment(load_config(SMALL, [given]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_no_file_of_tensors_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    assert "cannot read it" in problem_of(f"student.init={tmp_path / 'text.pt'}")
    assert "no such file" in problem_of(f"student.init={tmp_path / 'none.pt'}")
    assert "must name a file" in problem_of(f"student.init={tmp_path}")
    assert "must name a file" in problem_of("student.init=/dev/zero")
    assert "cannot be read" in problem_of("student.init=" + "a" * 300)


def test_a_digest_without_a_file_is_told() -> None:
    with pytest.raises(ConfigError, match=r"student\.init_sha256: is the digest of student\.init, which is null"):
        load_config(SMALL, [f"student.init_sha256={'0' * 63}a"])
