"""One experiment by ``flwr run``: the SuperLink and the SuperNodes it needs, the app in it, and its final status."""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deployments.processes import BIN, CONNECTION, environment, superlink, supernodes
from fedkd.config.load import load_config
from fedkd.config.shipped import config_path
from fedkd.core.errors import ConfigError, RunError
from fedkd.engines.resources import cores

ROOT = Path(__file__).resolve().parents[2]
NODES_PER_CORE = 4
SETTLE_SECONDS = 60.0
"""How long after its last line a run may take to have a final status."""


def main() -> int:
    """Read the command line and run; SIGTERM ends a run as Ctrl-C does. Raises ``FedkdError``."""
    signal.signal(signal.SIGTERM, _interrupt)
    parser = argparse.ArgumentParser(description="Run one experiment by flwr run; exit with its status.")
    parser.add_argument("config", help="a YAML file or a shipped name")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the file")
    parser.add_argument("--out", default="", help="folder for the results (default: runs/CONFIG-N)")
    parser.add_argument("--resume", action="store_true", help="resume the run in --out")
    parser.add_argument("--key-directory", default="", metavar="FILE", help="public keys of a deployment's clients")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--supernodes", type=int, metavar="N", help="deploy on N SuperNodes on this machine")
    where.add_argument("--superlink", metavar="NAME", help="use this connection of the Flower configuration")
    where.add_argument(
        "--private-data", nargs="+", metavar="PATH", help="deploy on SuperNodes with these data, each its own"
    )
    arguments = parser.parse_intermixed_args()

    keys = {"config": arguments.config, "overrides": shlex.join(arguments.overrides), "resume": arguments.resume}
    if arguments.superlink is not None:
        elsewhere = {"out": arguments.out, "key-directory": arguments.key_directory}
        return flower_run(_flower_home(), arguments.superlink, keys | elsewhere)
    if arguments.key_directory:
        raise ConfigError([f"--key-directory: goes with --superlink NAME, got {arguments.key_directory}; leave it out"])
    source = config_path(arguments.config)
    load_config(source, arguments.overrides)
    keys |= {"config": str(source.resolve()), "out": arguments.out and str(Path(arguments.out).resolve())}
    own = arguments.private_data
    count = arguments.supernodes if own is None else len(own)
    if count is not None and count < 1:
        raise ConfigError([f"--supernodes: must be at least 1, got {count}; leave it out for a simulation"])
    with tempfile.TemporaryDirectory(prefix="fedkd-flower-") as folder, ExitStack() as stack:
        home = Path(folder)
        address = stack.enter_context(superlink(home, simulation=count is None))
        if count is not None:
            rest = {"num-partitions": count, "state-dir": str(home / "state"), "trial": True}
            nodes: list[dict[str, Any]] = [{"partition-id": node, **rest} for node in range(count)]
            for node, path in zip(nodes, own or (), strict=False):
                node["private-data"] = str(Path(path).resolve())
            stack.enter_context(supernodes(home, address, nodes))
        return flower_run(home, CONNECTION, keys, simulated=NODES_PER_CORE * cores() if count is None else 0)


def flower_run(home: Path, connection: str, keys: dict[str, Any], *, app: Path = ROOT, simulated: int = 0) -> int:
    """Start the app in a folder with these run-config keys, and follow it to its end: 0 when it ended well, else 1.

    Ctrl-C stops the run. ``home`` holds the Flower configuration that knows the connection; ``simulated`` is how many
    nodes a simulation has (0: it is none).
    """
    settings = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as run_config:
        run_config.write("\n".join(settings))
        run_config.flush()
        command = ["run", str(app), connection, "--stream", "--run-config", run_config.name]
        if simulated:
            # Without these, Flower simulates two nodes and gives each client two cores.
            size = f"num-supernodes={simulated} client-resources-num-cpus=1"
            command += ["--federation-config", size]
        run_id, status = None, 1
        with _flwr(home, *command) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    print(line, end="", flush=True)
                    if (started := re.search(r"Successfully started run (\d+)", line)) is not None:
                        run_id = started[1]
            except KeyboardInterrupt:
                process.terminate()
                if run_id is not None:
                    with _flwr(home, "stop", run_id, connection) as stopping:
                        stopping.communicate()
                raise
            status = process.wait()
    if run_id is None or status != 0:
        return 1
    ending, details = _ending(home, connection, run_id)
    if ending != "finished:completed":
        print(f"Error: the run is {ending}: {details}", file=sys.stderr)
        return 1
    return 0


def _ending(home: Path, connection: str, run_id: str) -> tuple[str, str]:
    """The status of the run, final unless Flower takes longer than it should, and its reason."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        with _flwr(home, "list", connection, "--run-id", run_id, "--format", "json") as process:
            text = process.communicate()[0]
        if process.returncode != 0:
            raise RunError(f"the SuperLink does not say how run {run_id} ended:\n{text}")
        run = json.loads(text[text.index("{") :])["runs"][0]
        if str(run["status"]).startswith("finished") or time.monotonic() > deadline:
            return str(run["status"]), str(run["status-details"])
        time.sleep(0.5)


def _flwr(home: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(BIN / "flwr"), *command],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _flower_home() -> Path:
    return Path(os.environ.get("FLWR_HOME", Path.home() / ".flwr"))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
