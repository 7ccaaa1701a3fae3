"""``flwr run`` on real Flower processes: the same bits as inline, a status that tells, and nothing left behind."""

import json
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from deployments.flower_run import flower_run
from deployments.processes import CONNECTION, superlink, supernodes

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from tests.support import ROOT, SUPPORT
from tests.support.flower_processes import LEAVE_SECONDS, certificates, key_pair, nothing_left
from tests.support.measurements import measured, without_measurements

TINY = (
    "rounds=2",
    "clients.count=4",
    "clients.epochs=1",
    "clients.rule=own_model",
    "data.private_size=80",
    "data.public.size=40",
    "data.public.labelled=20",
    "student.model={name: mlp, hidden: [8]}",
    "distillation.steps=3",
    "communication.uplink={name: quantise, delta: true, compress: zlib}",
    "controls=[]",
)
"""Clients that keep a model of their own, and code their answers as differences to the last ones."""

OWN = ("strategy=sharper", "clients.behaviour=polite")
"""Plug-ins in the folder where Flower's processes are started."""


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, tuple[Any, ...]]:
    folder = with_plugins(tmp_path_factory.mktemp("reference"))
    with chdir(folder):
        run_experiment(load_config(ROOT / "configs/quickstart.yaml", [*TINY, *OWN, "engine.kind=inline"]), "run")
    return result(folder / "run")


def with_plugins(folder: Path) -> Path:
    """The folder, with a strategy and a behaviour in it."""
    for name in ("strategies", "clients"):
        (folder / name).mkdir()
    shutil.copy(SUPPORT / "sharper.py", folder / "strategies")
    polite = "from fedkd import ClientBehaviour\n\nclass Polite(ClientBehaviour):\n    pass\n"
    (folder / "clients/polite.py").write_text(polite, encoding="utf-8")
    return folder


def result(folder: Path) -> tuple[str, tuple[Any, ...]]:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary["student_sha256"], without_measurements(folder)


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After the test, no process is left of those that it started."""
    with nothing_left(monkeypatch):
        yield


def run_script(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/flower_run.py"), "quickstart", *TINY, *OWN, *arguments]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=400)


@pytest.mark.usefixtures("mark")
def test_flowers_simulation_gives_the_same_bits(tmp_path: Path, reference: tuple[str, tuple[Any, ...]]) -> None:
    """The tests' own Ray, if one is running, is not joined; the script's folder is where results go."""
    done = run_script("--out", "run", cwd=with_plugins(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(tmp_path / "run") == reference
    assert measured(tmp_path / "run") == []
    assert f"results in {tmp_path / 'run'}" in done.stdout


@pytest.mark.usefixtures("mark")
def test_a_deployment_gives_the_same_bits(tmp_path: Path, reference: tuple[str, tuple[Any, ...]]) -> None:
    done = run_script("--out", "run", "--supernodes", "2", cwd=with_plugins(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert result(tmp_path / "run") == reference
    assert measured(tmp_path / "run") == []
    assert [path.name for path in (tmp_path / "run/client_state").iterdir()] == ["state_key"]


@pytest.mark.usefixtures("mark")
def test_neither_a_stranger_nor_a_run_that_does_not_fit_keeps_an_authenticated_deployment_from_running(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The stranger claims a partition that is taken; without authentication that ends every run before it starts."""
    tls, home = certificates(tmp_path), tmp_path / "home"
    own, second, rogue = (key_pair(tmp_path / name) for name in ("own", "second", "rogue"))
    held: list[dict[str, int | str]] = [
        {"partition-id": node, "num-partitions": 2, "state-dir": str(tmp_path / f"state{node}")} for node in range(2)
    ]
    plain = ("rounds=1", *TINY[1:3], *TINY[4:8], TINY[8], "controls=[]")

    def run(name: str, *overrides: str) -> int:
        given = {"config": "quickstart", "overrides": shlex.join(overrides), "out": str(tmp_path / name)}
        return flower_run(home, CONNECTION, given)

    with (
        superlink(home, tls=tls, admitted=[key.with_suffix(".pub") for key in (own, second)]) as address,
        supernodes(tmp_path / "strange", address, held[:1], tls=tls, keys=[rogue]),
    ):
        assert encrypted(address, tls.ca)
        await_words(tmp_path / "strange/supernode-0.log", "Failed to activate SuperNode")
        with supernodes(home, address, held, tls=tls, keys=[own, second]):
            status = run("unfit", *TINY[2:4], "clients.count=1")
            shown = capfd.readouterr()
            assert status == 1, shown
            assert "the run is finished:failed: ServerApp failed with exception" in shown.err
            assert "num-partitions is 2 and clients.count is 1" in shown.err
            assert "raise clients.count, or use fewer SuperNodes" in shown.err
            status = run("run", *plain)
    assert status == 0, capfd.readouterr()
    assert len((tmp_path / "run/rounds.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def await_words(log: Path, words: str) -> None:
    """Until a process has written them."""
    deadline = time.monotonic() + LEAVE_SECONDS * 3
    while words not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.1)


def encrypted(address: str, ca: Path) -> bool:
    """Whether who answers there speaks TLS and is the one that the certificate is for."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        return tls.version() is not None
