"""Plug-ins of the user's own on Ray: files where they work are found; classes of their script are refused at once."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support import SUPPORT
from tests.support.processes import Program

pytest.importorskip("ray")

SCRIPT = """
import sys
from dataclasses import dataclass
from fedkd import ClientBehaviour, FedkdError, LogitAggregator, Teacher, load_config, run_experiment

@dataclass
class Mine(LogitAggregator):
    def aggregate(self, stack):
        return Teacher.from_probabilities(stack.probabilities.mean(0))

@dataclass
class Polite(ClientBehaviour):
    pass

config = {
    "rounds": 1,
    "data": {"private_size": 120, "public": {"size": 60, "labelled": 30}},
    "clients": {"count": 2},
    "student": {"model": {"name": "mlp", "hidden": [16]}},
    "distillation": {"steps": 4},
    "engine": {"workers": 1},
}
if __name__ == "__main__":
    try:
        for kind in ("inline", "ray"):
            run_experiment(load_config(config, [f"engine.kind={kind}", *sys.argv[1:]]), kind)
    except FedkdError as error:
        sys.exit(str(error))
"""


def run(folder: Path, *overrides: str) -> Program:
    (folder / "script.py").write_text(SCRIPT)
    return Program("script.py", *overrides, cwd=folder)


def test_files_where_the_user_works_are_found_by_workers(tmp_path: Path) -> None:
    nodes = tmp_path / "nodes"
    for name, source in (("clients/tracked", "cluster_client"), ("strategies/sharper", "sharper")):
        (tmp_path / name).parent.mkdir()
        shutil.copy(SUPPORT / f"{source}.py", tmp_path / f"{name}.py")
    nodes.mkdir()
    program = run(tmp_path, f"clients.behaviour={{name: tracked, folder: {nodes}}}", "strategy=sharper")
    _, error = program.communicate(timeout=300)
    assert (program.returncode, error) == (0, "")
    inline, ray = (json.loads((tmp_path / kind / "summary.json").read_text()) for kind in ("inline", "ray"))
    assert (ray["student_sha256"], ray["failures"]) == (inline["student_sha256"], 0)


def test_classes_of_the_script_work_inline_and_are_refused_before_ray_starts(tmp_path: Path) -> None:
    program = run(tmp_path, "strategy=__main__:Mine", "clients.behaviour=__main__:Polite")
    _, error = program.communicate(timeout=300)
    assert program.returncode == 1
    assert (tmp_path / "inline/summary.json").is_file()
    assert not (tmp_path / "ray").exists()
    for words in (
        "2 problems",
        "strategy.name: Mine is defined in the script",
        "put it into strategies/mine.py and name it mine, or into my_mod.py and name it my_mod:Mine",
        "clients.behaviour.name: Polite",
        "clients/polite.py",
        "engine.kind=inline",
    ):
        assert words in error
