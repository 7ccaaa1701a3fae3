"""A deployment with TLS and authentication, whose SuperNodes have private data each, and the server none."""

import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from deployments.flower_run import flower_run
from deployments.processes import CONNECTION, superlink, supernodes

from tests.support.flower_processes import certificates, key_pair, nothing_left
from tests.support.homes import MOST, NODES, TINY, Homes, changed, told
from tests.support.measurements import measured, without_measurements

REMEMBERING = ("clients.rule=own_model", "communication.uplink={name: quantise, delta: true, compress: zlib}")
"""Clients go on from models of their own, which are on their nodes."""


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After the test, no process is left of those that it started."""
    with nothing_left(monkeypatch):
        yield


@contextmanager
def again(start: Callable[[], Any], log: Path) -> Iterator[None]:
    """A SuperNode that was killed, as soon as Flower lets it in: it takes a minute until the old one counts as lost."""
    words = ("SuperNode ID:", "Failed to activate SuperNode")
    deadline = time.monotonic() + 180
    while True:
        before = [log.read_text(encoding="utf-8").count(word) for word in words]
        with start():
            while (now := [log.read_text(encoding="utf-8").count(word) for word in words]) == before:
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.2)
            if now[0] > before[0]:
                yield
                return


@pytest.mark.usefixtures("mark")
def test_the_student_is_that_of_a_simulation_though_a_node_is_killed_and_comes_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    homes, tls, home = Homes.divided(tmp_path), certificates(tmp_path), tmp_path / "home"
    simulated = homes.simulated(*REMEMBERING)
    secrets = [homes.secrets(node) for node in range(NODES)]
    for node in range(NODES):
        # Where no other process knows to look for them.
        (tmp_path / f"parts/node{node}").rename(tmp_path / f"own{node}")
    (tmp_path / "parts/partition.json").unlink()
    keys = [key_pair(tmp_path / f"key{node}") for node in range(NODES)]

    def one(node: int) -> Any:
        held: dict[str, int | str] = {
            "partition-id": node,
            "num-partitions": NODES,
            "state-dir": str(tmp_path / f"state{node}"),
        }
        held |= {"private-data": str(tmp_path / f"own{node}")}
        return supernodes(tmp_path / f"home{node}", address, [held], tls=tls, keys=[keys[node]])

    def run(rounds: int) -> int:
        dataset = f"data.dataset={{name: npz, path: {tmp_path}/parts/server}}"
        scheme = "data.partition.scheme=at_home"
        overrides = changed(*TINY, MOST, dataset, scheme, *REMEMBERING, f"rounds={rounds}")
        told = {"config": "quickstart", "overrides": shlex.join(overrides), "out": str(tmp_path / "run")}
        return flower_run(home, CONNECTION, told | {"resume": rounds > 1, "join-timeout": 60.0})

    with ExitStack() as stack:
        admitted = [key.with_suffix(".pub") for key in keys]
        address = stack.enter_context(superlink(home, tls=tls, admitted=admitted))
        stack.enter_context(one(0))
        stack.enter_context(one(2))
        with one(1) as (process,):
            status = run(1)
            os.killpg(process.pid, signal.SIGKILL)
        stack.enter_context(again(lambda: one(1), tmp_path / "home1/supernode-0.log"))
        assert (status, run(2)) == (0, 0), capfd.readouterr()
    summary = json.loads((tmp_path / "run/summary.json").read_text(encoding="utf-8"))
    assert summary["student_sha256"] == simulated.student_sha256
    assert without_measurements(tmp_path / "run") == without_measurements(tmp_path / "simulated")
    assert measured(tmp_path / "run") == []
    for node, mine in enumerate(secrets):
        kept = (tmp_path / f"state{node}", tmp_path / f"home{node}", tmp_path / f"own{node}")
        for file in (path for path in tmp_path.rglob("*") if path.is_file() and "simulated" not in path.parts):
            assert set(kept) & set(file.parents) or not told(mine, file.read_bytes()), file
        assert [path.name for path in (tmp_path / f"state{node}").glob("*/client_*")] == [f"client_00000{node}"]
