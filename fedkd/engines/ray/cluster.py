"""Starting Ray on this machine, or attaching to a running one: quietly, locally, and undone afterwards."""

import importlib.util
import logging
import os
import re
import site
import socket
import sys
import sysconfig
from pathlib import Path
from typing import Any

from fedkd.core.errors import RunError
from fedkd.core.plugin_files import WORKING_FOLDER, working_folder
from fedkd.engines.ray.lean import lean

OBJECT_STORE_BYTES = 256 * 2**20
"""Shared memory for messages in flight; larger ones spill to disk."""

START_SECONDS = 120.0
"""How long Ray itself may take to start."""

_LOOPBACK = "127.0.0.1"

_ELSEWHERE = "192.0.2.1"
"""An address that is nobody's (RFC 5737), which tells by which of its own this machine would go there."""

_LONGEST_FOLDER = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.99")
"""Bytes that are left for the folder of Ray's sessions of the 107 that the path of a Unix socket may have."""

_REMEDIES = (
    (
        r"AF_UNIX|socket.*(path|name)",
        "the path of its folder is too long for a Unix socket; set RAY_TMPDIR to a short one, such as /tmp",
    ),
    (
        r"address.*in use|bind|port",
        "another program has the port that it wanted; stop that, such as a Ray that was left over, or try again",
    ),
    (
        r"/dev/shm|shared memory|object.?store",
        f"it needs {OBJECT_STORE_BYTES // 2**20} MiB of shared memory; enlarge /dev/shm (docker run --shm-size=1g) or "
        "remove what is in it",
    ),
    (
        r"no space|disk|quota",
        "its folder has no room; set RAY_TMPDIR to one with some, or remove what is in it",
    ),
    (
        r"memory|allocate",
        "the machine has too little free memory; end other programs, or lower engine.workers",
    ),
    (
        r"tim(ed|e) ?out|within \d+ s|overloaded|unavailable|failed to start|node info",
        "the machine is probably busy; try again when it is less so, or lower engine.workers",
    ),
)
"""What a reason says, and what to do about it; the first that fits."""

_SETTINGS = b"\x04"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS + b"\0" * 5
"""How a client of HTTP/2, and so of gRPC, begins: the server answers with a frame of settings (RFC 9113, 3.4)."""

_SILENT = logging.CRITICAL + 1


def environment(*, local: bool, verbose: bool) -> dict[str, str]:
    """The environment of a process that starts Ray or attaches to one; what the user has set is left alone.

    No usage statistics. With ``local``, Ray listens on the loopback interface only (it has one switch for that, named
    after the systems on which it is the default). Unless ``verbose``, Ray's messages about its processes are not copied
    to the terminal.
    """
    switches = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    if local:
        switches["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # By default Ray's workers yield to everything else, so that on a busy machine a run hardly gets on.
        switches["RAY_worker_niceness"] = "0"
        # How long Ray's agents outlive a driver that was killed, hoping for its successor: a minute by default.
        switches["RAY_gcs_rpc_server_reconnect_timeout_s"] = "10"
    if not verbose:
        switches["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."
    return {**switches, **os.environ, **workers_environment()}


def start_ray(*, cpus: int, gpus: int = 0, verbose: bool, shared: bool = False) -> None:
    """Start a Ray with so many CPUs and GPUs on the loopback interface; raises ``RunError`` when it does not start.

    With ``shared`` others can attach to it.
    """
    with lean(environments=shared):
        _init(
            address="local",
            _node_ip_address=_LOOPBACK,
            _temp_dir=str(session_folder()),
            num_cpus=cpus,
            num_gpus=gpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else _SILENT,
        )


def attach_ray(address: str, *, verbose: bool) -> None:
    """Connect to the Ray cluster at ``host:port``; raises ``RunError`` when nothing answers there."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(_GREETING)
            answer = connection.recv(9)
    except (OSError, ValueError) as error:
        raise RunError(
            f"engine.address: nothing answers at {address!r} ({error}); start one with `ray start --head`, "
            "or leave engine.address out"
        ) from error
    # Ray would end this whole process over it.
    if answer[3:4] != _SETTINGS and os.environ.get("RAY_USE_TLS", "0") != "1":
        raise RunError(
            f"engine.address: another program than Ray has the port at {address!r}; give the address that "
            "`ray start --head` prints, or leave engine.address out"
        )
    _init(
        address=address,
        runtime_env={"env_vars": workers_environment()},
        log_to_driver=verbose,
        logging_level=logging.INFO if verbose else _SILENT,
    )


def session_folder() -> Path:
    """Where a Ray that is started keeps its sessions: where it would itself, or in the nearest folder that is short
    enough, for the path of a Unix socket in it has at most 107 bytes.

    Raises ``RunError`` where none of them can be written to.
    """
    named = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    for parent in dict.fromkeys(Path(each).absolute() for each in (named, "/tmp", "/var/tmp", "/dev/shm")):
        if len(os.fsencode(parent / "ray")) <= _LONGEST_FOLDER and os.access(parent, os.W_OK | os.X_OK):
            return parent / "ray"
    raise RunError(
        f"engine.kind = ray needs a folder that can be written to and whose path has at most {_LONGEST_FOLDER - 4} "
        f"bytes, for its Unix sockets; neither {named} nor /tmp, /var/tmp and /dev/shm is one; set RAY_TMPDIR to such "
        "a folder, or set engine.kind=inline"
    )


def on_loopback_only(address: str) -> bool:
    """Whether what is at ``address`` can be reached on the loopback interface and not at this machine's own address.

    Ray takes a name of the former for the latter, by which the other machines of a cluster see this one, unless it has
    been told to keep to the loopback interface.
    """
    host, _, port = address.rpartition(":")
    if host not in {"127.0.0.1", "localhost", "::1"}:
        return False
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
            route.connect((_ELSEWHERE, 9))  # sends nothing
            own = route.getsockname()[0]
        socket.create_connection((own, int(port)), timeout=5).close()
    except (OSError, ValueError):
        return True
    return False


def require_ray() -> None:
    """Raise ``RunError`` when Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise RunError(
            "engine.kind = ray needs the package ray, which is not installed; "
            "pip install 'ray==2.55.*', or set engine.kind=inline"
        )


def _init(**options: Any) -> None:
    import ray

    try:
        ray.init(**options)
    except Exception as error:
        raise RunError(f"Ray did not start: {type(error).__name__}: {error}; {start_remedy(str(error))}") from error


def start_remedy(reason: str) -> str:
    """What to do about a Ray that did not start for this reason."""
    for pattern, remedy in _REMEDIES:
        if re.search(pattern, reason, re.IGNORECASE):
            return f"{remedy}, or set engine.kind=inline"
    return "--verbose shows what Ray says; engine.kind=inline does without it"


def module_path() -> str:
    """A ``PYTHONPATH`` by which another process imports what this one can."""
    # What belongs to this Python's installation stays here: a worker on another machine has its own, perhaps elsewhere.
    installed = (*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")), *site.getsitepackages())
    entries = (Path(entry).absolute() for entry in sys.path)
    own = [str(entry) for entry in entries if not any(entry.is_relative_to(each) for each in installed)]
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join(dict.fromkeys([*own, inherited] if inherited else own))


def workers_environment() -> dict[str, str]:
    """The variables by which a worker finds the modules and the plug-in files that this process does."""
    folder = working_folder()
    return {"PYTHONPATH": module_path()} | ({} if folder is None else {WORKING_FOLDER: str(folder)})
