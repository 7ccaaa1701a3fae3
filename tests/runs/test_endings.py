"""However a run on Ray ends, no process of it is left, and finished rounds are.

The normal end, the end by an error, and kill -9 between two clients are looked at where they are tested.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Program

pytest.importorskip("ray")

CONFIG: dict[str, Any] = {
    "rounds": 2,
    "data": {"private_size": 60, "public": {"size": 40, "labelled": 20}},
    "clients": {"count": 2},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "distillation": {"steps": 2},
    "engine": {"kind": "ray", "workers": 1},
}


def started(folder: Path, *overrides: str) -> Program:
    """``fedkd run`` as from a shell."""
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    command = ("-c", "from fedkd.app.cli.main import main; main()", "run", "config.yaml", "--out", "run", *overrides)
    return Program(*command, cwd=folder)


def wait_until(happens: Any, program: Program) -> None:
    deadline = time.monotonic() + 120
    while not happens() and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert happens(), program.communicate(timeout=30)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL], ids=lambda ending: ending.name)
def test_a_run_that_is_ended_in_the_midst_of_a_clients_work(tmp_path: Path, ending: signal.Signals) -> None:
    """The signal reaches the driver alone, and a worker that would not end by itself is at work."""
    mark = tmp_path / "busy"
    program = started(tmp_path, f"clients.behaviour={{name: tests.support.endless_client:Endless, mark: {mark}}}")
    wait_until(mark.exists, program)
    os.kill(program.pid, ending)
    _, error = program.communicate(timeout=60)
    program.assert_nothing_left(45)
    if ending == signal.SIGTERM:
        assert program.returncode == 128 + signal.SIGTERM
        assert "Resume with: fedkd run --resume --out run" in error
        assert "Traceback" not in error
    else:
        assert program.returncode == -signal.SIGKILL


@pytest.mark.parametrize("newest", ["gcs_server", "ray::"])
def test_a_run_that_is_interrupted_while_ray_starts(tmp_path: Path, newest: str) -> None:
    """Ctrl-C goes to the whole group, at the moment at which a process of that name is there."""
    program = started(tmp_path, "rounds=1000")
    wait_until(lambda: any(newest in command for command in program.family().values()), program)
    os.killpg(program.pid, signal.SIGINT)
    _, error = program.communicate(timeout=90)
    program.assert_nothing_left(45)
    assert program.returncode == 128 + signal.SIGINT, error
    assert "Traceback" not in error, error
