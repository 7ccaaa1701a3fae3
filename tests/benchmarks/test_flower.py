"""Both sides of the benchmark of plain Flower clients do the same work."""

from pathlib import Path

import pytest
from benchmarks.plain_app import client_app, strategy_of, told

from fedkd import Experiment, load_config
from fedkd.app.plain_clients import public_files
from fedkd.app.run import run_experiment
from fedkd.core.messages import parameter_digest
from tests.support.federations import SMALL
from tests.support.plain_grid import PlainGrid


@pytest.mark.usefixtures("task_identity")
@pytest.mark.parametrize("changes", [[], ["strategy=stacked", "data.public.round_size=10"]], ids=" ".join)
def test_plain_clients_that_train_as_fedkds_do_teach_the_same_student(
    changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "flower"))
    monkeypatch.setattr(public_files, "_last", {})
    experiment = Experiment.of(load_config(SMALL, changes))
    strategy = strategy_of(experiment)
    strategy.start(PlainGrid([client_app] * 4), num_rounds=3, train_config=told(experiment))
    run = run_experiment(experiment.config, tmp_path / "run")
    assert parameter_digest(strategy.student.state_dict()) == run.summary.student_sha256
