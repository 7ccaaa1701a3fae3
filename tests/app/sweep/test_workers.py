"""Cells side by side: what single runs give, whatever becomes of the processes."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import fedkd.app.sweep.planning
from fedkd.app.cli.interruption import EXIT_SIGNALLED
from fedkd.app.run import run_experiment
from fedkd.app.sweep import SilentSweep, run_sweep
from fedkd.engines.resources import cores
from fedkd.results.observer import Observer, Silent
from fedkd.results.records import Overview, RoundRecord, Summary
from fedkd.results.report.sweep_tables import SweepResult
from tests.support.moody import Moody
from tests.support.processes import Program

BASE: dict[str, Any] = {
    "rounds": 2,
    "data": {"private_size": 80, "public": {"size": 60, "labelled": 30}},
    "clients": {"count": 3},
    "student": {"model": {"name": "mlp", "hidden": [8]}},
    "distillation": {"steps": 4, "warmup": 2},
    "controls": ["public_only", "fedavg"],
    "engine": {"kind": "inline"},
}
IN_ONE_PROCESS = BASE | {"engine": {"kind": "inline", "workers": 1}}
SWEEP = "from fedkd.app.cli.main import main; main()"


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fedkd.app.sweep.planning, "cores", lambda: 2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDKD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def moody(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A configuration whose teacher does what the file says."""
    path = tmp_path / "mood"
    return BASE | {"strategy": {"name": f"{Moody.__module__}:Moody", "mood": str(path)}}, path


def results(folder: Path) -> dict[str, Any]:
    names = ("config.yaml", "rounds.jsonl", "distillation.csv", "clients.csv")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    del summary["wall_seconds"]
    return {name: (folder / name).read_bytes() for name in names} | {"summary": summary}


def table(out: Path) -> dict[str, Any]:
    """The sweep's own file, but for wall times."""
    found: dict[str, Any] = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    for part in (*found["cells"], *found["groups"]):
        del part["measures"]["wall_seconds"]
    return found


def program(base: dict[str, Any], folder: Path, out: Path) -> Program:
    """``fedkd sweep`` over two seeds, in a process of its own."""
    config = folder / "base.yaml"
    config.write_text(yaml.safe_dump(base), encoding="utf-8")
    return Program("-c", SWEEP, "sweep", str(config), "--seeds", "0,1", "--out", str(out))


def one_after_another(base: dict[str, Any], seeds: tuple[int, ...], out: Path, *, cache: bool = True) -> SweepResult:
    """The sweep in this process, as on a machine with one core: what its cells come to is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fedkd.app.sweep.planning, "cores", lambda: 1)
        return run_sweep(base, {}, seeds, out, cache=cache)


class Diary(SilentSweep):
    """Writes down what it is told, by cell."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = {}

    def cell_began(self, name: str) -> Observer:
        lines = self.told.setdefault(name, [])

        class Watch(Silent):
            def started(self, overview: Overview) -> None:
                lines.append(f"on {overview.engine}")

            def progress(self, stage: str, done: int, total: int) -> None:
                if done == total:
                    lines.append(stage)

            def round_ended(self, record: RoundRecord, seconds: float) -> None:
                lines.append(f"round {record.round}")

            def finished(self, summary: Summary, overview: Overview) -> None:
                lines.append(f"finished {summary.rounds}")

        return Watch()


def test_cells_side_by_side_do_without_ray_equal_single_runs_and_tell_how_they_do(tmp_path: Path, cache: Path) -> None:
    diary = Diary()
    grid = {"strategy.name": ("mean_probabilities", "median")}
    result = run_sweep(BASE, grid, (0, 1), tmp_path / "sweep", ["engine.kind=ray"], diary)
    assert not result.failed
    for each in result.cells:
        alone, config = tmp_path / "alone" / each.cell.name, each.cell.config
        run_experiment(replace(config, engine=replace(config.engine, kind="inline")), alone)
        written = yaml.safe_load((each.folder / "config.yaml").read_text(encoding="utf-8"))
        assert written["engine"]["kind"] == "ray", "which is what fedkd run --resume goes on with"
        # That is the only difference.
        shutil.copy(alone / "config.yaml", each.folder)
        assert results(each.folder) == results(alone)
        told = diary.told[each.cell.name]
        assert (told[0], told[-1]) == ("on inline", "finished 2")
        assert [line for line in told if line.startswith("round")] == ["round 1", "round 2"]
        assert told.count("distillation") == 2
    # Two seeds, by three clients, in the first round, and after that in that of either strategy.
    assert len(list(cache.glob("client-*.pt"))) == 2 * 3 * 3
    assert len(list(cache.glob("control-*.pt"))) == 2 * 2


@pytest.mark.parametrize("how", ["error", str(signal.SIGKILL.value)])
def test_a_cell_that_fails_or_whose_process_is_killed_does_not_stop_the_others(
    tmp_path: Path, moody: tuple[dict[str, Any], Path], how: str
) -> None:
    base, mood = moody
    out = tmp_path / "sweep"
    mood.write_text(f"2 {how}", encoding="utf-8")
    result = run_sweep(base, {}, (0, 1, 2), out)
    (failed,) = result.failed
    assert failed.error is not None
    assert ("in a bad mood" if how == "error" else "its process was killed, perhaps") in failed.error
    assert sorted(each.state for each in result.cells) == ["failed", "finished", "finished"]
    assert not one_after_another(base, (0, 1, 2), out).failed
    run_experiment(failed.cell.config, tmp_path / "alone")
    assert results(failed.folder) == results(tmp_path / "alone")


@pytest.mark.skipif(cores() < 2, reason="cells are run side by side, each below the sweep, where there are cores")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_ended_takes_its_processes_with_it_and_goes_on(
    tmp_path: Path, moody: tuple[dict[str, Any], Path], number: signal.Signals
) -> None:
    base, mood = moody
    mood.write_text(f"2 parent {number.value}", encoding="utf-8")
    ended = program(base, tmp_path, tmp_path / "sweep")
    _, error = ended.communicate(timeout=300)
    assert ended.returncode == (-number if number == signal.SIGKILL else EXIT_SIGNALLED + number), error
    assert "Traceback" not in error
    ended.assert_nothing_left()
    assert any((tmp_path / "sweep").glob("*/rounds.jsonl"))
    assert not one_after_another(base, (0, 1), tmp_path / "sweep").failed
    one_after_another(base, (0, 1), tmp_path / "undisturbed", cache=False)
    assert table(tmp_path / "sweep") == table(tmp_path / "undisturbed")


def test_two_sweeps_at_once_share_one_cache(tmp_path: Path, cache: Path) -> None:
    programs = [program(IN_ONE_PROCESS, tmp_path, tmp_path / name) for name in ("one", "other")]
    for each in programs:
        _, error = each.communicate(timeout=300)
        assert each.returncode == 0, error
    one_after_another(BASE, (0, 1), tmp_path / "alone", cache=False)
    assert table(tmp_path / "one") == table(tmp_path / "other") == table(tmp_path / "alone")
    assert len(list(cache.glob("client-*.pt"))) == 2 * 2 * 3


def test_damaged_entries_and_a_cache_that_is_cleared_meanwhile_change_nothing(tmp_path: Path, cache: Path) -> None:
    one_after_another(BASE, (0, 1), tmp_path / "first")
    for index, path in enumerate(sorted(cache.glob("*.pt"))):
        content = path.read_bytes()
        path.write_bytes((b"", content[: len(content) // 2], content[::-1])[index % 3])
    one_after_another(BASE, (0, 1), tmp_path / "second")
    running = program(IN_ONE_PROCESS, tmp_path, tmp_path / "third")
    while running.poll() is None:
        for path in cache.glob("*.pt"):
            path.unlink(missing_ok=True)
        time.sleep(0.02)
    assert running.communicate()[1] == ""
    assert table(tmp_path / "first") == table(tmp_path / "second") == table(tmp_path / "third")


def test_the_bound_holds_for_all_cells_together(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDKD_CACHE_GB", "0.00005")
    assert not one_after_another(BASE, (0, 1), tmp_path / "sweep").failed
    assert 0 < sum(os.path.getsize(path) for path in cache.glob("*.pt")) <= 50_000
