"""A round without enough reports stops the run, which goes on once they come."""

from pathlib import Path

import pytest

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import RunError
from fedkd.results.directory import RunDirectory
from tests.support.interrupted import PLAIN

MOODY_CLIENT = """
from pathlib import Path
from fedkd.client import ClientBehaviour

class Moody(ClientBehaviour):
    def respond(self, work, rule):
        if work.round == 2 and work.client > 0 and Path("moody.txt").exists():
            raise ConnectionError("no network")
        return super().respond(work, rule)
"""


def test_too_few_reports_stop_the_run_which_goes_on_once_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "moody_client.py").write_text(MOODY_CLIENT)
    config = load_config(
        PLAIN,
        ("rounds=2", "controls=[]", "clients.behaviour.name=moody_client:Moody", "clients.min_reports=2"),
    )
    run_experiment(config, tmp_path / "reference")
    (tmp_path / "moody.txt").touch()
    with pytest.raises(RunError) as stopped:
        run_experiment(config, tmp_path / "run")
    message = str(stopped.value)
    assert "round 2: 1 valid reports, clients.min_reports is 2" in message
    assert "no network" in message
    assert message.endswith(f"Resume with: fedkd run --resume --out {tmp_path / 'run'}")
    assert RunDirectory(tmp_path / "run").rounds_done == 1
    (tmp_path / "moody.txt").unlink()
    run_experiment(config, tmp_path / "run", resume=True)
    for name in ("rounds.jsonl", "distillation.csv", "clients.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "reference" / name).read_bytes()
