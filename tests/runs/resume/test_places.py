"""Full disks, places that cannot be written, folders that hold a run: a clear error, and nothing is lost."""

from pathlib import Path
from typing import Any

import pytest

from fedkd.app.run import run_experiment
from fedkd.config.load import load_config
from fedkd.core.errors import RunError
from tests.support.interrupted import PLAIN, Zygote, results


def test_a_new_run_does_not_overwrite_one(stopped: Path) -> None:
    before = (stopped / "rounds.jsonl").read_bytes()
    with pytest.raises(RunError, match=r"already holds a run; resume it with --resume"):
        run_experiment(load_config(PLAIN), stopped)
    assert (stopped / "rounds.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("room", "broken", "done"), [(2_000, "round_00002.pt", "1 round"), (50_000, "distillation.csv", "3 rounds")]
)
def test_a_full_disk_stops_the_run_and_loses_nothing(
    zygote: Zygote, tmp_path: Path, room: int, broken: str, done: str
) -> None:
    out = tmp_path / "run"
    wordy = PLAIN | {
        "distillation": {"steps": 100, "warmup": 2, "measure_geometry_every": 1},
        "controls": ["teacher_only"],
        "rounds": 3,
    }
    zygote.complete(tmp_path / "reference", wordy)
    answer = zygote.run(out, wordy, {"room": room, "round": 1})
    assert answer["signal"] == 0
    for word in (broken, "cannot be written", "room", f"fedkd run --resume --out {out}"):
        assert word in answer["error"]
    assert not list(out.rglob("*.partial"))
    notices = zygote.complete(out, wordy, resume=True)
    assert len(notices) == 1
    assert f"{done} done" in notices[0]
    assert results(out) == results(tmp_path / "reference")


@pytest.mark.parametrize("what", ["folders", "everything"])
def test_a_read_only_run_directory_stops_the_run_and_loses_nothing(
    zygote: Zygote, stopped: Path, plain: dict[str, Any], what: str
) -> None:
    protected = {
        path: path.stat().st_mode
        for path in (stopped, *stopped.rglob("*"))
        if path.is_dir() or (what == "everything" and path.is_file())
    }
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file() and path.name != ".lock"}
    for path, mode in protected.items():
        path.chmod(mode & ~0o222)
    answer = zygote.run(stopped, PLAIN, {"privileges": False}, resume=True)
    for path, mode in protected.items():
        path.chmod(mode)
    assert answer["signal"] == 0
    for words in (str(stopped), "cannot be written", "see that its folder can be written"):
        assert words in answer["error"]
    assert {path: path.read_bytes() for path in before} == before
    zygote.complete(stopped, PLAIN, resume=True)
    assert results(stopped) == plain


def test_a_place_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody, not even the superuser, can make folders here.
    with pytest.raises(RunError, match=r"/proc/fedkd cannot be written"):
        run_experiment(load_config(PLAIN), Path("/proc/fedkd"), resume=True)
