"""Every fault there is, on real Ray workers: what becomes of it, and that the result is as if nobody had noticed.

One run of ten rounds goes through the table in ``faulty_clients``, is stopped by too few reports in the ninth, and goes
on without Ray. The reference is a run in which the clients that fail are not asked in that round.
"""

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.faulty_clients import CLIENTS, FAULTS, MIN_REPORTS, ROUNDS, TIMEOUT, Fault
from tests.support.processes import Program

pytest.importorskip("ray")

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.experiment import Experiment

CONFIG: dict[str, Any] = {
    "seed": 3,
    "rounds": ROUNDS,
    "data": {"private_size": 200, "public": {"size": 60, "labelled": 30}},
    "clients": {"count": CLIENTS, "rule": "own_model", "min_reports": MIN_REPORTS},
    "student": {"model": {"name": "mlp", "hidden": [16]}},
    "strategy": "exp_guard",
    "distillation": {"steps": 8, "warmup": 2},
    "communication": {"downlink": {"name": "quantise", "bits": 8, "delta": True, "compress": "zlib"}},
    "engine": {"kind": "ray", "workers": 3, "clients_per_node": 1, "timeout": TIMEOUT},
}
"""Clients and a teacher that remember, and consensus sent as differences: whatever a dropped client could upset."""

STOPPED = 9
"""The round that has too few reports."""

COMMAND = """
import sys
import fedkd.app.run
from fedkd.app.cli.main import main
from fedkd.engines.ray.engine import RayEngine
from fedkd.engines.resources import Workload

def build_engine(experiment, **options):
    config = experiment.config
    return RayEngine(config.engine, Workload(config.clients.count, "tests.support.faulty_clients:perform"))

fedkd.app.run.build_engine = build_engine
main()
"""


@dataclass(frozen=True)
class Ran:
    """The faulty run in its folder, resumed since; what it said, and which processes did the work of each round."""

    out: Path
    stopped: list[dict[str, Any]]
    status: int
    error: str
    workers: dict[int, set[int]]
    checkpoints: set[str]


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("faulty")
    out, log = folder / "run", folder / "workers.txt"
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    arguments = ("-c", COMMAND, "run", str(folder / "config.yaml"), "--out", str(out))
    program = Program(*arguments, env={"FAULTY_CLIENTS_LOG": str(log)})
    _, error = program.communicate(timeout=300)
    program.assert_nothing_left()
    workers: dict[int, set[int]] = {}
    for line in log.read_text().splitlines():
        round, _, process = map(int, line.split())
        workers.setdefault(round, set()).add(process)
    stopped = rows(out)
    checkpoints = {path.name for path in (out / "checkpoints").iterdir()}
    run_experiment(load_config(CONFIG, ["engine.kind=inline"]), out, resume=True)
    return Ran(out, stopped, program.returncode, error, workers, checkpoints)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "run"
    failed = {(fault.round, fault.client) for fault in FAULTS if fault.round < STOPPED}
    sampled = Experiment.sampled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Experiment,
            "sampled",
            lambda experiment, round: tuple(each for each in sampled(experiment, round) if (round, each) not in failed),
        )
        run_experiment(load_config(CONFIG, ["engine.kind=inline"]), out)
    return out


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.round < STOPPED], ids=lambda fault: fault.name)
def test_the_client_is_dropped_for_the_round_with_a_reason(faulty: Ran, fault: Fault) -> None:
    row = faulty.stopped[fault.round - 1]
    assert fault.client in row["clients"]
    (reason,) = [failure["reason"] for failure in row["failures"] if failure["client"] == fault.client]
    assert re.search(fault.reason, reason), reason


def test_nobody_else_is_dropped(faulty: Ran) -> None:
    found = {(row["round"], failure["client"]) for row in rows(faulty.out) for failure in row["failures"]}
    assert found == {(fault.round, fault.client) for fault in FAULTS if fault.round < STOPPED}
    assert json.loads((faulty.out / "summary.json").read_text())["failures"] == len(found)


def test_the_result_is_that_of_a_run_that_did_not_ask_the_failing_clients(faulty: Ran, reference: Path) -> None:
    """But for who was asked in vain, and what that cost."""
    one, other = (json.loads((out / "summary.json").read_text()) for out in (faulty.out, reference))
    assert one["student_sha256"] == other["student_sha256"]
    assert (faulty.out / "distillation.csv").read_bytes() == (reference / "distillation.csv").read_bytes()
    for found, expected in zip(rows(faulty.out), rows(reference), strict=True):
        for row in (found, expected):
            assert row["circumstances"].pop("dropped") == len(row["failures"])
            for name in ("clients", "failures", "bytes_down"):
                del row[name]
        assert found == expected
    tables = [list(csv.reader((out / "clients.csv").read_text().splitlines())) for out in (faulty.out, reference)]
    in_vain = [row for row in tables[0] if row not in tables[1]]
    assert [row for row in tables[0] if row in tables[1]] == tables[1]
    assert {(int(row[0]), int(row[1])) for row in in_vain} == {
        (fault.round, fault.client) for fault in FAULTS if fault.round < STOPPED
    }


def test_workers_that_died_or_hung_are_replaced(faulty: Ran) -> None:
    """Two died in round 3, and two were stopped after round 4."""
    first, last = faulty.workers[1], set().union(*(faulty.workers[round] for round in (5, 6, 7, 8)))
    assert len(first) == len(last) == 3
    assert len(first - last) >= 2
    assert len(set().union(*faulty.workers.values())) == 7


def test_too_few_reports_stop_the_run_with_a_checkpoint(faulty: Ran) -> None:
    assert faulty.status == 1
    for words in (
        f"round {STOPPED}: 1 valid reports, clients.min_reports is {MIN_REPORTS}",
        "client 0: OSError: no data on this device",
        f"fedkd run --resume --out {faulty.out}",
    ):
        assert words in " ".join(faulty.error.split())
    assert "Traceback" not in faulty.error
    assert len(faulty.stopped) == STOPPED - 1
    assert faulty.checkpoints == {"round_00007.pt", "round_00008.pt"}
