"""Secure sums on Ray: the server sees as little, killed processes are dropouts, and the result is the inline one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.config.schema import EngineConfig
from fedkd.engines.building import build_engine
from fedkd.engines.resources import Workload
from fedkd.privacy.secure_sum.terms import PHASES
from tests.support import SUPPORT
from tests.support.federations import SMALL, experiment_of, federation
from tests.support.secure_rounds import SECURE, SIX, check_that_nothing_is_unmasked, rounds, run_round

pytest.importorskip("ray")

from fedkd.engines.ray.engine import RayEngine


def test_the_server_never_holds_an_unmasked_report(tmp_path: Path) -> None:
    on_ray = experiment_of(SIX, SECURE, "engine.kind=ray", "engine.workers=1")
    with build_engine(on_ray, memory=tmp_path) as engine:
        check_that_nothing_is_unmasked(tmp_path, engine)


def test_a_killed_run_resumes_and_ray_ends_with_the_same_student(tmp_path: Path) -> None:
    config = {**SMALL, "rounds": 2, "privacy": {"secure_aggregation": {}}}
    inline = run_experiment(load_config(config), tmp_path / "inline").summary
    out = tmp_path / "killed"
    request = {"out": str(out), "config": config, "resume": False}
    plan = {"stage": "clients", "round": 2, "done": 3}
    script = SUPPORT / "dying_run.py"
    answer = subprocess.run(
        [sys.executable, str(script)],
        input=json.dumps({**request, "plan": plan}) + "\n",
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)},
    ).stdout
    assert json.loads(answer)["signal"] == 9
    over_ray = ["engine.kind=ray", "engine.workers=1"]
    resumed = run_experiment(load_config(config, over_ray), out, resume=True).summary
    assert resumed.student_sha256 == inline.student_sha256
    assert rounds(out) == rounds(tmp_path / "inline")


def test_processes_killed_at_each_step_are_dropouts_of_it(tmp_path: Path) -> None:
    parts = federation(tmp_path, SIX, SECURE, f"rounds={len(PHASES)}")
    config = EngineConfig(workers=1, clients_per_node=1)
    workload = Workload(6, "tests.support.secure_performers:dying", memory=str(tmp_path))
    with RayEngine(config, workload) as engine:
        records = [run_round(parts, round, engine).record.secure for round in range(1, len(PHASES) + 1)]
    for record, phase in zip(records, PHASES, strict=True):
        assert record is not None
        assert [(drop.client, drop.phase) for drop in record.dropouts] == [(2, phase)]
        assert "the worker process died" in record.dropouts[0].reason
        assert (2 in record.survivors) == (phase in ("confirm", "unmask"))
