"""Flower's processes on this machine's loopback interface, each ended with the block that needs it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fedkd.core.errors import RunError

START_SECONDS = 120.0
STOP_SECONDS = 10.0

BIN = Path(sys.executable).parent
"""Where this environment's own ``flwr`` is. Flower finds the programs it starts by PATH, so this goes first there."""

CONNECTION = "fedkd"
"""Name of the SuperLink in the Flower configuration that is written into ``home``."""


@dataclass(frozen=True)
class Certificates:
    """Files for TLS: the certificate of who is trusted, and the server's own with its key."""

    ca: Path
    server: Path
    key: Path


def environment(home: Path) -> dict[str, str]:
    """What Flower's processes are started with: their own folder, nothing sent home, nothing installed.

    What an app needs is the environment's affair: otherwise Flower downloads it anew for every run. Unless RAY_ADDRESS
    says otherwise, a simulation starts a Ray of its own: otherwise it would join any that happens to run here.
    """
    return {
        "RAY_ADDRESS": "local",
        **os.environ,
        "PATH": os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


@contextmanager
def superlink(
    home: Path, *, simulation: bool = False, tls: Certificates | None = None, admitted: Sequence[Path] = ()
) -> Iterator[str]:
    """A SuperLink of its own on a free port, and its address; ``home`` gets a Flower configuration that knows it.

    Where public keys are ``admitted``, which takes TLS, no other SuperNodes than those that have them may join. Raises
    ``RunError`` when it does not start.
    """
    address = f"127.0.0.1:{_free_port()}"
    home.mkdir(parents=True, exist_ok=True)
    trust = "insecure = true" if tls is None else f"root-certificates = {json.dumps(str(tls.ca))}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = "{address}"\n{trust}\n',
        encoding="utf-8",
    )
    command = ["flower-superlink", "--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
    command += ["--simulation"] if simulation else []
    command += ["--insecure"] if tls is None else _server_files(tls)
    command += ["--enable-supernode-auth"] if admitted else []
    process = _start(command, home, home / "superlink.log")
    try:
        _await(process, address, home / "superlink.log")
        for key in admitted:
            _register(home, key)
        yield address
    finally:
        _end([process])


@contextmanager
def supernodes(
    home: Path,
    address: str,
    node_configs: Sequence[Mapping[str, int | str]],
    *,
    tls: Certificates | None = None,
    keys: Sequence[Path] = (),
) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """SuperNodes of the SuperLink at ``address``, one for each configuration; their logs go below ``home``.

    ``keys`` are the files of the private keys that tell the SuperLink who they are, in the same order.
    """
    home.mkdir(parents=True, exist_ok=True)
    trust = ["--insecure"] if tls is None else ["--root-certificates", str(tls.ca)]
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []
        # All at once, because each takes its time.
        stack.callback(lambda: _end(processes))
        for index, node_config in enumerate(node_configs):
            settings = " ".join(f"{key}={json.dumps(value)}" for key, value in node_config.items())
            command = ["flower-supernode", "--superlink", address, "--port", str(_free_port()), *trust]
            command += ["--auth-supernode-private-key", str(keys[index])] if keys else []
            processes.append(_start([*command, "--node-config", settings], home, home / f"supernode-{index}.log"))
        yield processes


def _register(home: Path, key: Path) -> None:
    done = subprocess.run(
        [str(BIN / "flwr"), "supernode", "register", str(key), CONNECTION],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RunError(f"the SuperNode with the public key {key} cannot be registered:\n{done.stdout}{done.stderr}")


def _server_files(tls: Certificates) -> list[str]:
    return ["--ssl-ca-certfile", str(tls.ca), "--ssl-certfile", str(tls.server), "--ssl-keyfile", str(tls.key)]


def _start(command: list[str], home: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the script, which then ends its processes in order.
            start_new_session=True,
        )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask the processes to end; kill them, and whatever they or those started, if that takes too long.

    A SuperLink with a run going on would wait for it, and what it starts is detached from it.
    """
    started: set[tuple[int, str]] = set()
    for process in processes:
        started |= _family(process.pid)
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    while started & _running() and time.monotonic() < deadline:
        for process in processes:
            # Reaping it is what tells the others that it has ended.
            process.poll()
            started |= _family(process.pid)
        time.sleep(0.05)
    for pid, _ in started & _running():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for process in processes:
        process.wait()


def _family(pid: int) -> set[tuple[int, str]]:
    """The process and all its descendants, by pid and time of start."""
    parents = {int(entry.name): _stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = {pid}
    while more := {child for child, (parent, _) in parents.items() if parent in found} - found:
        found |= more
    return {(each, parents[each][1]) for each in found if each in parents}


def _running() -> set[tuple[int, str]]:
    return {(int(entry.name), _stat(entry)[1]) for entry in Path("/proc").iterdir() if entry.name.isdigit()}


def _stat(entry: Path) -> tuple[int, str]:
    """Parent and time of start of a process; of none when it has just ended or waits to be reaped."""
    try:
        state, parent, *rest = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0, ""
    return (0, "") if state == "Z" else (int(parent), rest[17])


def _await(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + START_SECONDS
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RunError(f"{process.args!r} did not start:\n{tail}")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
