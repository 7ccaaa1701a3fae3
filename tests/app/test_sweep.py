"""Sweeps: the same results as single runs, through failures and interruptions, and one Ray for all cells."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fedkd.app.cli import main as cli
from fedkd.app.cli.interruption import EXIT_SIGNALLED
from fedkd.app.run import run_experiment
from fedkd.app.sweep import SilentSweep, run_sweep
from fedkd.config.load import load_config
from fedkd.core.errors import ConfigError
from fedkd.engines.ray.shared import SharedRay
from fedkd.results.observer import Observer, Silent
from fedkd.results.report.statistics import mean_and_ci
from fedkd.results.report.sweep_tables import CellResult
from tests.support import ROOT, SUPPORT
from tests.support.moody import Moody
from tests.support.processes import Program

BASE: dict[str, Any] = {
    "rounds": 3,
    "data": {"private_size": 80, "public": {"size": 60, "labelled": 30}},
    "clients": {"count": 3},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "distillation": {"steps": 4, "warmup": 2},
    "controls": ["public_only"],
    "engine": {"kind": "inline", "workers": 1},
}
"""One cell at a time, in this process; several at once are tested in ``sweep/test_workers.py``."""
GRID = {"strategy.name": ("mean_probabilities", "median")}
SEEDS = (0, 1)


def results(folder: Path) -> dict[str, Any]:
    """All that a run directory tells, but for wall times."""
    found: dict[str, Any] = {
        name: (folder / name).read_bytes() for name in ("rounds.jsonl", "distillation.csv", "clients.csv")
    }
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    del summary["wall_seconds"]
    return found | {"summary": summary, "config": yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))}


def sweep_json(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    return found


class Witness(SilentSweep):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.before = (0, 0)
        self.run: list[str] = []
        self.ended: list[CellResult] = []

    def began(self, cells: int, finished: int) -> None:
        self.before = (cells, finished)

    def cell_began(self, name: str) -> Observer:
        self.run.append(name)
        return Silent()

    def cell_ended(self, result: CellResult) -> None:
        self.ended.append(result)


def test_cells_equal_single_runs_and_the_tables_their_means(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    result = run_sweep(BASE, GRID, SEEDS, out)
    assert not result.failed
    folders = [
        f"strategy.name={teacher},seed={seed}" for teacher in ("mean_probabilities", "median") for seed in (0, 1)
    ]
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == folders
    for folder in folders:
        run_experiment(load_config(BASE, folder.split(",")), tmp_path / folder)
        assert results(out / folder) == results(tmp_path / folder)

    content = sweep_json(out)
    assert [cell["folder"] for cell in content["cells"]] == folders
    students = [100 * results(out / folder)["summary"]["student_accuracy"] for folder in folders]
    leads = [100 * results(out / folder)["summary"]["controls"]["public_only"] for folder in folders]
    for index, group in enumerate(content["groups"]):
        assert group["values"] == {"strategy.name": GRID["strategy.name"][index]}
        mean, half = mean_and_ci(students[2 * index : 2 * index + 2])
        assert group["measures"]["student"] == {"mean": mean, "ci95": half, "count": 2}
        assert group["measures"]["control_public_only"]["mean"] == sum(leads[2 * index : 2 * index + 2]) / 2
    with (out / "sweep.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["student"]) for row in rows] == students
    assert [(row["strategy.name"], row["seed"], row["folder"]) for row in rows] == [
        (folder.split(",")[0].removeprefix("strategy.name="), folder[-1], folder) for folder in folders
    ]
    assert float(rows[0]["student_mean"]) == (students[0] + students[1]) / 2
    assert rows[0]["student_sha256"] == results(out / folders[0])["summary"]["student_sha256"]


def test_finished_cells_are_left_alone_and_new_ones_are_added(tmp_path: Path) -> None:
    run_sweep(BASE, {"rounds": (1,)}, (0,), tmp_path)
    before = (tmp_path / "rounds=1,seed=0/summary.json").stat().st_mtime_ns
    witness = Witness()
    result = run_sweep(BASE, {"rounds": (1, 2)}, (0, 1), tmp_path, (), witness)
    assert witness.before == (4, 1)
    assert witness.run == ["rounds=1,seed=1", "rounds=2,seed=0", "rounds=2,seed=1"]
    assert len(witness.ended) == 4
    assert [each.state for each in result.cells] == ["finished"] * 4
    assert (tmp_path / "rounds=1,seed=0/summary.json").stat().st_mtime_ns == before


def test_a_shipped_configuration_is_swept_over_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["engine.kind=inline", "controls=[]", "rounds=1", "clients.count=2", "distillation.steps=3"]
    result = run_sweep("quickstart.yaml", {"strategy.name": ["median"]}, [3], Path("out"), tiny)
    (cell,) = result.cells
    assert cell.done
    assert cell.cell.config == load_config(ROOT / "configs/quickstart.yaml", ["seed=3", "strategy.name=median", *tiny])


def test_nothing_runs_when_any_cell_is_wrong(tmp_path: Path) -> None:
    grid = {"strategy.name": ("median", "medain"), "data.private_size": (80, 100_000), "rounds": (1, 0)}
    with pytest.raises(ConfigError) as found:
        run_sweep(BASE, grid, (0,), tmp_path / "sweep")
    text = str(found.value)
    for word in ("'medain'", "rounds: ", "data.private_size: "):
        assert word in text
    assert not (tmp_path / "sweep").exists()


def test_folders_with_other_runs_or_other_things_are_refused_before_anything_runs(tmp_path: Path) -> None:
    run_sweep(BASE, {"rounds": (1,)}, (0,), tmp_path)
    (tmp_path / "rounds=2,seed=0").mkdir()
    (tmp_path / "rounds=2,seed=0/thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError) as found:
        run_sweep(BASE, {"rounds": (1, 2, 3)}, (0,), tmp_path, ["distillation.steps=5"])
    assert "distillation.steps: the run in" in str(found.value)
    assert "holds no run and is not empty" in str(found.value)
    assert not (tmp_path / "rounds=3,seed=0").exists()


@pytest.fixture
def moody(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A configuration whose teacher does what the file says."""
    path = tmp_path / "mood"
    return BASE | {"strategy": {"name": f"{Moody.__module__}:Moody", "mood": str(path)}}, path


def test_a_cell_that_fails_does_not_stop_the_others(tmp_path: Path, moody: tuple[dict[str, Any], Path]) -> None:
    base, mood = moody
    out = tmp_path / "sweep"
    mood.write_text("2 error", encoding="utf-8")
    result = run_sweep(base, {}, (0, 1), out)
    first, second = result.cells
    assert (first.state, second.state) == ("failed", "finished")
    assert first.error is not None
    assert "ZeroDivisionError: in a bad mood" in first.error
    assert "in a bad mood" in (out / "seed=0/traceback.txt").read_text(encoding="utf-8")
    assert [cell["state"] for cell in sweep_json(out)["cells"]] == ["failed", "finished"]
    assert sweep_json(out)["groups"][0]["measures"]["student"]["count"] == 1
    # Once mended, it goes on where it was.
    run_sweep(base, {}, (0, 1), out)
    run_experiment(load_config(base), tmp_path / "alone")
    assert results(out / "seed=0") == results(tmp_path / "alone")


def command(base: Path, out: Path) -> list[str]:
    return ["sweep", str(base), "--seeds", "0,1", "--out", str(out)]


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = str(ROOT)
    return subprocess.run(
        [sys.executable, "-c", "from fedkd.app.cli.main import main; main()", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        timeout=600,
        check=False,
    )


def test_a_killed_and_then_interrupted_sweep_goes_on_and_ends_as_if_nothing_had_happened(
    tmp_path: Path, moody: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, mood = moody
    out, config = tmp_path / "sweep", tmp_path / "base.yaml"
    config.write_text(yaml.safe_dump(base), encoding="utf-8")
    mood.write_text(f"2 {signal.SIGKILL.value}", encoding="utf-8")
    assert command_line(*command(config, out)).returncode == -signal.SIGKILL
    assert (out / "seed=0/rounds.jsonl").read_text(encoding="utf-8").count("\n") == 1
    mood.write_text(f"3 {signal.SIGINT.value}", encoding="utf-8")
    stopped = command_line(*command(config, out))
    assert stopped.returncode == EXIT_SIGNALLED + signal.SIGINT
    assert f"Resume with: fedkd {' '.join(command(config, out))}" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert (out / "seed=0/rounds.jsonl").read_text(encoding="utf-8").count("\n") == 2
    monkeypatch.setattr(sys, "argv", ["fedkd", *command(config, out)])
    done = CliRunner().invoke(cli.app, command(config, out))
    assert done.exit_code == 0, done.output
    for seed in (0, 1):
        run_experiment(load_config(base, [f"seed={seed}"]), tmp_path / f"alone-{seed}")
        assert results(out / f"seed={seed}") == results(tmp_path / f"alone-{seed}")
    mean, half = mean_and_ci([100 * results(out / f"seed={s}")["summary"]["student_accuracy"] for s in (0, 1)])
    assert f"{mean:.1f} ± {half:.1f}" in done.output


def test_the_command_tells_of_failed_cells_at_the_end_and_fails(
    tmp_path: Path, moody: tuple[dict[str, Any], Path]
) -> None:
    base, mood = moody
    out, config = tmp_path / "sweep", tmp_path / "base.yaml"
    config.write_text(yaml.safe_dump(base), encoding="utf-8")
    listed = CliRunner().invoke(cli.app, [*command(config, out), "--dry-run"])
    assert [line.split()[0] for line in listed.output.splitlines()] == ["1/2", "2/2"]
    assert not out.exists()
    mood.write_text("1 error", encoding="utf-8")
    done = CliRunner().invoke(cli.app, command(config, out))
    assert done.exit_code == cli.EXIT_RUN_FAILED
    assert "1 of 2 cells failed" in done.output
    told = done.output.index("seed=0 failed: the run ended with an error: ")
    assert done.output.index("2/2  seed=1  student") < told


def test_inline_cells_start_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(ray: SharedRay, size: object) -> str:
        raise AssertionError("a Ray was asked for")

    monkeypatch.setattr(SharedRay, "address", refuse)
    assert not run_sweep(BASE, {}, (0,), tmp_path, ["rounds=1"]).failed


def test_cells_share_one_ray_which_is_gone_afterwards(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(BASE | {"rounds": 1, "engine": {"kind": "ray"}}), encoding="utf-8")
    program = Program(str(SUPPORT / "witnessed_sweep.py"), str(base), str(tmp_path / "ray"))
    output, error = program.communicate(timeout=300)
    program.assert_nothing_left()
    assert program.returncode == 0, error
    witness = json.loads(output.splitlines()[-1])
    assert witness["failed"] == 0
    assert len(witness["nodes"]) == 2
    assert len(set(witness["nodes"].values())) == 1
    (address,) = witness["addresses"]
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0
    run_experiment(load_config(BASE, ["rounds=1", "clients.count=2"]), tmp_path / "inline")
    shared, alone = results(tmp_path / "ray/clients.count=2,seed=0"), results(tmp_path / "inline")
    # The shared Ray's address has no place in a configuration that can be run again.
    assert shared["config"].pop("engine") == alone["config"].pop("engine") | {"kind": "ray"}
    assert shared == alone
