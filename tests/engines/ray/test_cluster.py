"""An experiment on a Ray cluster of two nodes is the same experiment."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import SUPPORT
from tests.support.processes import Program

pytest.importorskip("ray")

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config

pytestmark = pytest.mark.usefixtures("task_identity")

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.add_node(**node)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""

CONFIG: dict[str, Any] = {
    "seed": 3,
    "rounds": 3,
    "data": {"private_size": 120, "public": {"size": 60, "labelled": 30}},
    "clients": {"count": 6, "rule": "own_model"},
    "student": {"model": {"name": "mlp", "hidden": [16]}},
    "distillation": {"steps": 8, "warmup": 2},
    "engine": {"kind": "inline", "clients_per_node": 1, "timeout": 120},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Program]:
    """The process of a cluster with a core on each of two nodes, started elsewhere and without our code."""
    switches = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": ""}
    program = Program("-c", CLUSTER, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env=switches)
    yield program
    program.communicate(timeout=60)
    program.assert_nothing_left(30)


RUN_TWICE = """
import sys
from pathlib import Path
from fedkd import load_config, run_experiment

for name in ("first", "second"):
    run_experiment(load_config(Path("config.yaml"), ["engine.kind=ray", f"engine.address={sys.argv[1]}"]), Path(name))
"""


def test_two_nodes_give_the_inline_engines_student_and_stay_up(
    cluster: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.stdout is not None
    address = cluster.stdout.readline().strip()
    nodes = tmp_path / "nodes"
    nodes.mkdir()
    # Behaviour and strategy are files where the user works, which is not where the cluster was started.
    monkeypatch.chdir(tmp_path)
    for folder, name, source in (("clients", "tracked", "cluster_client"), ("strategies", "sharper", "sharper")):
        (tmp_path / folder).mkdir()
        shutil.copy(SUPPORT / f"{source}.py", tmp_path / folder / f"{name}.py")
    behaviour = {"name": "tracked", "folder": str(nodes)}
    config = CONFIG | {"clients": CONFIG["clients"] | {"behaviour": behaviour}, "strategy": "sharper"}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    reference = run_experiment(load_config(config), tmp_path / "inline").summary
    program = Program("-c", RUN_TWICE, address, cwd=tmp_path)
    _, error = program.communicate(timeout=300)
    assert (program.returncode, error) == (0, "")
    program.assert_nothing_left()

    for out in (tmp_path / "first", tmp_path / "second"):
        summary = json.loads((out / "summary.json").read_text())
        assert (summary["student_sha256"], summary["failures"]) == (reference.student_sha256, 0)
        for name in ("rounds.jsonl", "distillation.csv", "clients.csv"):
            assert (out / name).read_bytes() == (tmp_path / "inline" / name).read_bytes()
    assert len(list(nodes.iterdir())) == 4, "both nodes must have worked, in both runs"

    assert cluster.poll() is None
    assert sum("raylet/raylet" in command for command in cluster.family().values()) == 2
